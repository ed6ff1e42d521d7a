"""Real files of every media type, small, and the hostile ones, made on the spot."""

import csv
import hashlib
import io
import json
import struct
import wave
import zipfile
import zlib
from fractions import Fraction
from pathlib import Path

import av
import docx
import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from include.embedding_etl.errors import PoisonObject
from include.embedding_etl.extract.dispatch import find_extractor
from include.embedding_etl.extract.opened import OpenObject
from include.embedding_etl.types import ChunkSettings, Limits, ModelInput, Segment

Pixels = NDArray[np.uint8]

SENTENCE = "The lighthouse keeper counts the ships that pass in the night."
RATE_HZ = 16_000


# ---- what the model asks for


@pytest.fixture(scope="session")
def tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A WordPiece tokenizer.json that carries truncation and padding, as the published ones do."""
    letters = [chr(code) for code in range(33, 127)]
    words = ["the", "of", "and", "in", "ships", "night", "lighthouse", "keeper", "counts", "that", "pass", "word"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *[f"##{letter}" for letter in letters], *words]
    numbered = {token: number for number, token in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = Tokenizer(models.WordPiece(numbered, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", numbered["[SEP]"]), ("[CLS]", numbered["[CLS]"]))
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=128)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return str(path)


@pytest.fixture(scope="session")
def every_modality(tokenizer_path: str) -> ModelInput:
    return ModelInput(
        ("text", "image", "audio", "video"),
        tokenizer_path=tokenizer_path,
        max_tokens=62,
        image_size=0,
        sample_rate_hz=RATE_HZ,
        window_ms=2_000,
        frames=8,
        frame_size=32,
        clip_samples=RATE_HZ // 2,
    )


def opened(
    data: bytes,
    media_type: str,
    model_input: ModelInput,
    chunk: ChunkSettings | None = None,
    limits: Limits | None = None,
) -> OpenObject:
    return OpenObject("a key", io.BytesIO(data), media_type, model_input, chunk or ChunkSettings(), limits or Limits())


# ---- documents


def make_pdf(pages: list[str], user_password: str | None = None) -> bytes:
    """A PDF of one line of Helvetica a page; with a password, encrypted by RC4 (ISO 32000-1, 7.6, revision 2)."""
    identifier = b"0123456789abcdef"
    entry, key = _pdf_encryption(user_password, identifier) if user_password is not None else (b"", b"")
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for index, text in enumerate(pages):
        escaped = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
        stream = f"BT /F1 12 Tf 40 700 Td ({escaped}) Tj ET".encode() if text else b""
        number = 5 + 2 * index
        if key:
            stream = _rc4(_md5(key + struct.pack("<I", number)[:3] + b"\0\0")[:10], stream)
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    if entry:
        objects.append(entry)
    out = io.BytesIO()
    out.write(b"%PDF-1.4\n")
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, content))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % offset for offset in offsets)
    encrypt = b"/Encrypt %d 0 R /ID [<%s> <%s>]" % (len(objects), identifier.hex().encode(), identifier.hex().encode())
    out.write(b"trailer\n<< /Size %d /Root 1 0 R %s >>\n" % (len(objects) + 1, encrypt if entry else b""))
    out.write(b"startxref\n%d\n%%%%EOF\n" % start)
    return out.getvalue()


_PDF_PADDING = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")


def _pdf_encryption(user_password: str, identifier: bytes) -> tuple[bytes, bytes]:
    user = (user_password.encode() + _PDF_PADDING)[:32]
    owner = _rc4(_md5((b"owner" + _PDF_PADDING)[:32])[:5], user)
    key = _md5(user + owner + struct.pack("<i", -4) + identifier)[:5]
    check = _rc4(key, _PDF_PADDING)
    entry = b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>" % (owner.hex().encode(), check.hex().encode())
    return entry, key


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out = bytearray()
    i = j = 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def make_docx(sections: dict[str, list[str]], table: list[list[str]] | None = None) -> bytes:
    document = docx.Document()
    for heading, paragraphs in sections.items():
        document.add_heading(heading, 1)
        for paragraph in paragraphs:
            document.add_paragraph(paragraph)
    if table:
        grid = document.add_table(len(table), len(table[0]))
        for row, cells in enumerate(table):
            for column, cell in enumerate(cells):
                grid.cell(row, column).text = cell
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def make_docx_bomb(unpacked_bytes: int = 700 << 20) -> bytes:
    """A Word document whose text part is one long row of spaces."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        with archive.open("word/document.xml", "w", force_zip64=True) as part:
            for _ in range(unpacked_bytes >> 20):
                part.write(b" " * (1 << 20))
    return out.getvalue()


def make_html(article: list[str]) -> bytes:
    paragraphs = "".join(f"<p>{paragraph}</p>" for paragraph in article)
    return (
        "<!doctype html><html><head><title>Lighthouses</title><script>var tracking = 1;</script></head><body>"
        "<nav><a href='/'>Home</a> <a href='/login'>Sign in here</a></nav>"
        f"<article><h1>Lighthouses</h1>{paragraphs}</article>"
        "<footer>Copyright, all rights reserved, cookie settings</footer></body></html>"
    ).encode()


def make_csv(rows: list[list[str]]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()


def make_json(value: object) -> bytes:
    return json.dumps(value).encode()


# ---- pictures


def make_quarters(width: int = 64, height: int = 48) -> Pixels:
    """Red, green / blue, yellow: shows every rotation and mirroring, and survives lossy formats."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (220, 30, 30)
    pixels[: height // 2, width // 2 :] = (30, 200, 30)
    pixels[height // 2 :, : width // 2] = (30, 30, 220)
    pixels[height // 2 :, width // 2 :] = (230, 220, 20)
    return pixels


def encode_picture(image: Image.Image, picture_format: str, **options: object) -> bytes:
    if picture_format == "HEIF":
        pillow_heif.register_heif_opener()
    out = io.BytesIO()
    image.save(out, picture_format, **options)
    return out.getvalue()


def make_picture(picture_format: str, pixels: Pixels | None = None, **options: object) -> bytes:
    return encode_picture(Image.fromarray(make_quarters() if pixels is None else pixels), picture_format, **options)


def make_rotated_jpeg(orientation: int) -> bytes:
    """`make_quarters` once a viewer has obeyed the EXIF orientation."""
    undo = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }[orientation]
    image = Image.fromarray(make_quarters())
    for step in undo:
        image = image.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode_picture(image, "JPEG", exif=exif, quality=95)


def make_cmyk_profile(ink: tuple[int, int, int]) -> bytes:
    """An ICC profile that shows magenta with yellow as `ink` (CIE Lab), against all reason, and the rest as white."""
    white = (255, 128, 128)
    table = bytearray()
    for corner in range(16):  # C M Y K, the last one fastest
        table += bytes(ink if corner == 0b0110 else white)
    ramp = bytes(range(256))
    identity = b"".join(struct.pack(">i", 65_536 if i % 4 == 0 else 0) for i in range(9))
    lookup = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4 + bytes(table) + ramp * 3
    text = b"text\0\0\0\0none\0"
    point = b"XYZ \0\0\0\0" + struct.pack(">iii", 63_190, 65_536, 54_061)
    description = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags, offset, content = b"", 128 + 4 + 12 * 4, b""
    for name, data in ((b"A2B0", lookup), (b"cprt", text), (b"wtpt", point), (b"desc", description)):
        data += bytes(-len(data) % 4)
        tags += name + struct.pack(">II", offset + len(content), len(data))
        content += data
    size = 128 + 4 + len(tags) + len(content)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02100000, b"prtr", b"CMYK", b"Lab ")
    header += (
        struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">iii", 63_190, 65_536, 54_061)
    )
    return header.ljust(128, b"\0") + struct.pack(">I", 4) + tags + content


def make_animation(picture_format: str) -> bytes:
    first = Image.fromarray(make_quarters())
    second = Image.new("RGB", first.size, "black")
    return encode_picture(first, picture_format, save_all=True, append_images=[second], duration=100)


def make_png_bomb(width: int = 20_000, height: int = 15_000) -> bytes:
    """300 megapixels of grey in a few hundred kilobytes."""

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer = zlib.compressobj(9)
    row = b"\0" * (width + 1)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", data) + part(b"IEND", b"")


# ---- sound


def make_tone(seconds: float, rate_hz: int = RATE_HZ, frequency_hz: float = 440.0) -> NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def make_wav(samples: NDArray[np.float32], rate_hz: int = RATE_HZ) -> bytes:
    """Samples of shape (n,) or (n, channels)."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(samples.shape[1] if samples.ndim == 2 else 1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((samples * 32_767).astype("<i2").tobytes())
    return out.getvalue()


def make_sound(
    container_format: str, codec: str, samples: NDArray[np.float32], rate_hz: int = 48_000, layout: str = "stereo"
) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate_hz, options={"strict": "experimental"})
        stream.layout = layout
        _mux_sound(container, stream, samples, rate_hz, layout)
        for packet in stream.encode(None):
            container.mux(packet)
    return out.getvalue()


def _mux_sound(
    container: av.container.OutputContainer,
    stream: av.AudioStream,
    samples: NDArray[np.float32],
    rate_hz: int,
    layout: str,
) -> None:
    channels = 2 if layout == "stereo" else 1
    for start in range(0, len(samples), 1024):
        block = np.repeat((samples[start : start + 1024] * 32_767).astype(np.int16), channels)[None]
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
        for packet in stream.encode(frame):
            container.mux(packet)


def make_chained_ogg() -> bytes:
    """Two Ogg FLAC streams behind each other, as radio recorders write them: the second has another rate."""
    return make_sound("ogg", "flac", make_tone(1, 48_000)) + make_sound("ogg", "flac", make_tone(1, 44_100), 44_100)


# ---- film


def make_film(
    container_format: str = "mp4",
    codec: str = "libx264",
    pictures: list[Pixels] | None = None,
    sound: NDArray[np.float32] | None = None,
    sound_codec: str = "aac",
    frames_per_second: int = 10,
    path: Path | None = None,
    options: dict[str, str] | None = None,
) -> bytes:
    """Pictures with sound of 48 kHz. With a `path`, written there: only then can the index be moved to the front."""
    pictures = make_brightening(30) if pictures is None else pictures
    out = io.BytesIO()
    target = out if path is None else str(path)
    with av.open(target, "w", format=container_format, options=options or {}) as container:
        stream = container.add_stream(codec, rate=frames_per_second)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 5
        voice = None
        if sound is not None:
            voice = container.add_stream(sound_codec, rate=48_000)
            voice.layout = "mono"
        share = 48_000 // frames_per_second
        for index, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, frames_per_second)
            for packet in stream.encode(frame):
                container.mux(packet)
            if voice is not None and sound is not None:
                part = (sound[index * share : (index + 1) * share] * 32_767).astype(np.int16)[None]
                if part.size:
                    block = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
                    block.sample_rate, block.pts, block.time_base = 48_000, index * share, Fraction(1, 48_000)
                    for packet in voice.encode(block):
                        container.mux(packet)
        for each in filter(None, (stream, voice)):
            for packet in each.encode(None):
                container.mux(packet)
    return out.getvalue() if path is None else path.read_bytes()


def make_brightening(count: int, width: int = 96, height: int = 64) -> list[Pixels]:
    """Grey pictures, each a little brighter than the one before: a frame's brightness tells its time."""
    return [np.full((height, width, 3), 20 + 200 * index // count, np.uint8) for index in range(count)]


def turn_film(mp4: bytes) -> bytes:
    """Write "turn a quarter clockwise to watch" into the track header, as a telephone held upright does."""
    start = mp4.index(b"tkhd") + 4
    matrix = start + 4 + 8 + 4 + 4 + 4 + 8 + 8  # version and flags, times, id, reserved, duration, reserved, layer …
    turned = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    return mp4[:matrix] + turned + mp4[matrix + 36 :]


def make_mp4_without_streams() -> bytes:
    movie_header = struct.pack(">I4sIIIII", 108, b"mvhd", 0, 0, 0, 1000, 0) + bytes(108 - 28)
    movie = struct.pack(">I4s", 8 + len(movie_header), b"moov") + movie_header
    return struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 512, b"isom") + movie


def make_noise(size_bytes: int) -> bytes:
    return np.random.default_rng(7).bytes(size_bytes)


# ---- running an extractor in this process


def extract_all(subject: OpenObject) -> list[Segment]:
    return list(find_extractor(subject)(subject))


def refusal(subject: OpenObject) -> str:
    """The error class that the object is refused with."""
    with pytest.raises(PoisonObject) as caught:
        extract_all(subject)
    assert (caught.value.key, caught.value.stage) == (subject.key, "extract")
    assert caught.value.message
    return caught.value.error_class
