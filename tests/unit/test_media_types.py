"""Media types of real files: made by Pillow, PyAV and python-docx, then named wrongly on purpose."""

import io
import json
import random
import tempfile
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import docx
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from include.embedding_etl.media_types import (
    DOCX,
    HEAD_BYTES,
    UNKNOWN,
    modality,
    needs_full_body,
    sniff,
    sniff_stream,
)


def picture(kind: str) -> bytes:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (32, 48, 3), np.uint8))
    out = io.BytesIO()
    if kind == "HEIF":
        pillow_heif.from_pillow(image).save(out)
    else:
        image.save(out, kind)
    return out.getvalue()


def film(
    container: str, video: str | None, audio: str | None, options: dict[str, str] | None = None, seconds: float = 0.5
) -> bytes:
    """A recording of noise."""
    noise = np.random.default_rng(1)
    with (
        tempfile.NamedTemporaryFile() as out,  # faststart reads what it wrote by name
        av.open(out.name, "w", format=container, container_options=options or {}) as file,
    ):
        streams: list[tuple[Any, Any]] = []
        if video:
            picture_stream: Any = file.add_stream(video, rate=10)
            picture_stream.width, picture_stream.height, picture_stream.pix_fmt = 64, 48, "yuv420p"
            frames = [
                av.VideoFrame.from_ndarray(noise.integers(0, 255, (48, 64, 3), np.uint8), "rgb24")
                for _ in range(int(10 * seconds))
            ]
            streams.append((picture_stream, frames))
        if audio:
            rate = 48_000
            sound_stream: Any = file.add_stream(audio, rate=rate, layout="mono")
            sound = av.AudioFrame.from_ndarray(
                (noise.random((1, int(rate * seconds))) * 20_000).astype(np.int16), "s16", "mono"
            )
            sound.sample_rate, sound.pts, sound.time_base = rate, 0, Fraction(1, rate)
            resampler = av.AudioResampler(
                sound_stream.format, "mono", rate, sound_stream.codec_context.frame_size or None
            )
            streams.append((sound_stream, [*resampler.resample(sound), *resampler.resample(None)]))
        for stream, frames in streams:
            for frame in [*frames, None]:
                file.mux(stream.encode(frame))
        file.close()
        return Path(out.name).read_bytes()


def wav() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(b"\1\2" * 1000)
    return out.getvalue()


def document() -> bytes:
    out = io.BytesIO()
    file = docx.Document()
    file.add_paragraph("hello")
    file.save(out)
    return out.getvalue()


PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n"
FASTSTART = {"movflags": "faststart"}
SAMPLES: list[tuple[str, Callable[[], bytes]]] = [
    ("image/jpeg", lambda: picture("JPEG")),
    ("image/png", lambda: picture("PNG")),
    ("image/gif", lambda: picture("GIF")),
    ("image/webp", lambda: picture("WEBP")),
    ("image/avif", lambda: picture("AVIF")),
    ("image/tiff", lambda: picture("TIFF")),
    ("image/bmp", lambda: picture("BMP")),
    ("image/heic", lambda: picture("HEIF")),
    ("audio/wav", wav),
    ("audio/wav", lambda: wav()[:44]),
    ("audio/mpeg", lambda: film("mp3", None, "mp3")),
    ("audio/mpeg", lambda: film("mp3", None, "mp3", {"id3v2_version": "0", "write_xing": "0"})),
    ("audio/flac", lambda: film("flac", None, "flac")),
    ("audio/ogg", lambda: film("ogg", None, "flac")),
    ("audio/ogg", lambda: film("ogg", None, "libopus")),
    ("audio/aac", lambda: film("adts", None, "aac")),
    ("audio/mp4", lambda: film("ipod", None, "aac")),
    ("audio/mp4", lambda: film("mp4", None, "aac")),
    ("audio/mp4", lambda: film("mp4", None, "aac", FASTSTART)),
    ("audio/mp4", lambda: film("mov", None, "aac")),
    ("audio/webm", lambda: film("webm", None, "libopus")),
    ("audio/x-matroska", lambda: film("matroska", None, "libopus")),
    ("video/mp4", lambda: film("mp4", "mpeg4", "aac")),
    ("video/mp4", lambda: film("mp4", "mpeg4", None, {"movflags": "frag_keyframe+empty_moov"})),
    ("video/quicktime", lambda: film("mov", "mpeg4", "aac")),
    ("video/webm", lambda: film("webm", "libvpx", "libopus")),
    ("video/x-matroska", lambda: film("matroska", "mpeg4", "aac")),
    ("video/x-msvideo", lambda: film("avi", "mpeg4", "mp3")),
    ("application/pdf", lambda: PDF),
    ("application/pdf", lambda: b"\xef\xbb\xbf\r\n" + PDF),
    (DOCX, document),
]


@pytest.mark.parametrize(("media_type", "make"), SAMPLES)
def test_content_counts_whatever_the_name_says(media_type: str, make: Callable[[], bytes]) -> None:
    body = make()
    for key in ("x", "dir/x.txt", "x.png", "x.mp4", "x.json"):
        assert sniff(body[:HEAD_BYTES], key) == media_type
        stream = io.BytesIO(body)
        assert sniff_stream(stream, key) == media_type
        assert stream.tell() == 0


@pytest.mark.parametrize(("media_type", "make"), SAMPLES)
def test_a_truncated_file_of_any_kind_raises_nothing(media_type: str, make: Callable[[], bytes]) -> None:
    body = make()
    for length in (*range(0, 64), *range(64, min(len(body), 3000), 97)):
        found = sniff(body[:length], "x.bin")
        needs_full_body(found, body[:length])
        sniff_stream(io.BytesIO(body[:length]), "x.bin")


@pytest.mark.parametrize(
    ("container", "video", "audio", "at_first", "really"),
    [
        ("mp4", "mpeg4", "aac", "video/mp4", "video/mp4"),
        ("mp4", None, "aac", "video/mp4", "audio/mp4"),
        ("mov", None, "pcm_s16le", "video/quicktime", "audio/mp4"),
    ],
)
def test_an_index_behind_the_head_is_found_in_the_full_body(
    container: str, video: str | None, audio: str | None, at_first: str, really: str
) -> None:
    body = film(container, video, audio, seconds=20)
    head = body[:HEAD_BYTES]
    assert b"moov" not in head
    assert (sniff(head, "x"), needs_full_body(at_first, head)) == (at_first, True)
    assert sniff_stream(io.BytesIO(body), "x") == really


@pytest.mark.parametrize(
    ("container", "video", "index"), [("mp4", "mpeg4", b"moov"), ("webm", "libvpx", b"\x16\x54\xae\x6b")]
)
def test_an_index_that_is_cut_off_asks_for_the_full_body(container: str, video: str, index: bytes) -> None:
    body = film(container, video, None)
    head = body[: body.rindex(index) + 20]  # the first one is a reference to it
    assert needs_full_body(sniff(head, "x"), head)
    assert not needs_full_body(sniff(body, "x"), body)


def test_a_film_with_its_index_at_the_start_needs_no_second_look() -> None:
    body = film("mp4", "mpeg4", "aac", FASTSTART, seconds=20)
    head = body[:HEAD_BYTES]
    assert needs_full_body(sniff(head, "x"), head) is False
    assert needs_full_body("image/png", b"") is False


@pytest.mark.parametrize(
    ("body", "key", "media_type"),
    [
        (b"plain words", "a.txt", "text/plain"),
        (b"plain words", "a.png", "text/plain"),
        (b"plain words", "README", "text/plain"),
        (b"# Title", "a.md", "text/markdown"),
        (b"# Title", "A.MARKDOWN", "text/markdown"),
        (b"# Title", "dir.md/a", "text/plain"),
        (b"a,b\n1,2\n", "a.csv", "text/csv"),
        (b"<h1>part of a page</h1>", "a.html", "text/html"),
        (b"\xef\xbb\xbf \n<!-- c --><!DOCTYPE HTML><html>", "a.txt", "text/html"),
        (b"<?xml version='1.0'?>\n<!DOCTYPE html PUBLIC 'x'><html>", "a", "text/html"),
        (b"<HTML><BODY>", "a.md", "text/html"),
        (b"<?xml version='1.0'?><!-- c --><svg xmlns='x'/>", "a.txt", "image/svg+xml"),
        (b"<!DOCTYPE svg PUBLIC 'x'><svg/>", "a.png", "image/svg+xml"),
        (b'{"a": [1]}', "a.txt", "application/json"),
        (b"[1, 2]", "a", "application/json"),
        (b"[not json]", "a.txt", "text/plain"),
        (b'{"a": 1}\n{"a": 2}\n', "a.jsonl", "application/json"),
        (b"{broken", "a.json", "application/json"),
        (b"feel free to ask", "a.txt", "text/plain"),
        (b"the ftyp box", "a.txt", "text/plain"),
        (b"I'm free", "a.txt", "text/plain"),
        (b"BM25 is a ranking function", "a.txt", "text/plain"),
        (b"ID3 tags are at the start of an MP3 file", "a.txt", "text/plain"),
        (b"OggS is the capture pattern", "a.txt", "text/plain"),
        (b"A PDF file begins with %PDF-1.7", "a.txt", "text/plain"),
        (b"rubbish \n%PDF-1.4\n", "a.pdf", "application/pdf"),
        (b"{\\rtf1 hello}", "a.txt", "application/rtf"),
        (b"PK\x03\x04" + bytes(26) + b"a.txt", "a.docx", "application/zip"),
        (b"", "a.txt", "text/plain"),
    ],
)
def test_text_is_told_apart(body: bytes, key: str, media_type: str) -> None:
    assert sniff(body, key) == media_type


TEXT = "Grüße aus Köln, naïve café – „Zitat“. " * 30
ENCODED = [
    TEXT.encode(),
    TEXT.encode("utf-8-sig"),
    TEXT.encode("cp1252"),
    TEXT.encode("utf-16"),
    b"\xfe\xff" + TEXT.encode("utf-16-be"),
    TEXT.encode("utf-16-le"),
    TEXT.encode("utf-16-be"),
    TEXT.encode("utf-32"),
    ("Съешь же ещё этих мягких булок. " * 30).encode("cp1251"),
    ("Съешь же ещё этих мягких булок. " * 30).encode("koi8-r"),
    ("吾輩は猫である。名前はまだ無い。" * 30).encode("shift-jis"),
    ("吾輩は猫である。名前はまだ無い。" * 30).encode("euc-jp"),
    ("吾輩は猫である。名前はまだ無い。" * 30).encode("utf-16"),
    ("床前明月光，疑是地上霜。" * 30).encode("gb18030"),
    TEXT.encode() + b"\xff\xfe\x00" + TEXT.encode(),
    ("漢" * 30_000).encode()[:HEAD_BYTES],  # cut within a character
    b"\x1b[31mred\x1b[0m\n" * 100,
]


@pytest.mark.parametrize("body", ENCODED)
def test_text_in_any_encoding_is_text(body: bytes) -> None:
    assert sniff(body, "a.txt") == "text/plain"
    assert sniff(body, "a.md") == "text/markdown"
    assert sniff(body, "a.png") == "text/plain"


@pytest.mark.parametrize(
    "body",
    [
        random.Random(1).randbytes(4096),
        random.Random(2).randbytes(200),
        b"\xff\xfe" + random.Random(3).randbytes(4096),
        bytes(5000),
        b"\0" * 3 + b"abc",
        b"SQLite format 3\0" + bytes(200),
        b"ustar".rjust(262, b"\0"),
        np.linspace(-1, 1, 4000, dtype=np.float32).tobytes(),
        (np.sin(np.arange(4000)) * 9000).astype(np.int16).tobytes(),
    ],
)
@pytest.mark.parametrize("key", ["a.txt", "a.md", "a.json", "a"])
def test_binary_rubbish_is_not_text(body: bytes, key: str) -> None:
    assert sniff(body, key) == UNKNOWN


def test_an_mp3_that_begins_in_the_middle_of_a_frame_is_known_by_its_name() -> None:
    body = film("mp3", None, "mp3", {"id3v2_version": "0", "write_xing": "0"})[77:]
    assert sniff(body, "cut.mp3") == "audio/mpeg"
    assert sniff(body, "cut.txt") == UNKNOWN
    one_header_is_too_little = random.Random(1).randbytes(300).replace(b"\xff", b"") + b"\xff\xfb\x90\x00"
    assert sniff(one_header_is_too_little, "rubbish.mp3") == UNKNOWN


def test_hostile_containers_cost_nothing() -> None:
    looping = b"\0\0\0\x08free" * 200_000  # more boxes than anybody reads
    assert sniff_stream(io.BytesIO(b"\0\0\0\x10ftypisom\0\0\0\0" + looping), "x") == "video/mp4"
    zero_sizes = b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\1moov" + bytes(8)
    assert sniff_stream(io.BytesIO(zero_sizes), "x") == "video/mp4"
    deep_json = b"[" * 50_000
    assert sniff(deep_json, "a.txt") == "text/plain"
    huge_element = b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff" + b"\x18\x53\x80\x67\x01" + b"\xff" * 7
    assert sniff_stream(io.BytesIO(huge_element), "x") == "video/x-matroska"


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        ("text/plain", "text"),
        ("text/csv", "text"),
        (DOCX, "text"),
        ("application/pdf", "text"),
        ("application/json", "text"),
        ("image/heic", "image"),
        ("image/svg+xml", None),
        ("audio/mp4", "audio"),
        ("video/quicktime", "video"),
        ("application/zip", None),
        (UNKNOWN, None),
        ("", None),
    ],
)
def test_modalities(media_type: str, kind: str | None) -> None:
    assert modality(media_type) == kind


def test_long_json_is_known_by_its_name() -> None:
    body = json.dumps(list(range(50_000))).encode()[:HEAD_BYTES]
    assert sniff(body, "a.json") == "application/json"
    assert sniff(body, "a.txt") == "text/plain"
