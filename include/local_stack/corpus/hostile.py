"""Files that are broken, wrong, or meant to do harm. None of them may stop a run."""

import io
import random
import struct
import zlib

from PIL import Image

from include.local_stack.corpus.documents import as_text
from include.local_stack.corpus.encode import encode_clip, encode_sound
from include.local_stack.corpus.pdf import write_encrypted_pdf
from include.local_stack.corpus.pictures import encode_picture, photograph
from include.local_stack.corpus.sounds import draw_sound
from include.local_stack.corpus.texts import ARTICLES
from include.local_stack.drawings import draw_clip


def truncated_jpeg() -> bytes:
    """The first third of a photograph."""
    whole = encode_picture(photograph("china"), "JPEG")
    return whole[: len(whole) // 3]


def picture_bomb() -> bytes:
    """A PNG of 300 megapixels in a few dozen kilobytes: 900 MB once it is decoded."""
    width, height = 20_000, 15_000
    row = bytes(1 + width // 8)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(name, body) for name, body in chunks)


def encrypted_pdf() -> bytes:
    """A PDF behind a password that nobody gave us."""
    return write_encrypted_pdf([ARTICLES["mortgage"].plain], password="open sesame")  # noqa: S106 - part of the corpus


def broken_pdf() -> bytes:
    """A PDF's first line, and nothing that a reader could repair."""
    return b"%PDF-1.7\n" + random.Random(7).randbytes(4000)  # noqa: S311


def mislabelled_utf8() -> bytes:
    """Text that begins in UTF-8 and goes on in bytes that no UTF-8 decoder accepts."""
    legacy = "Grüße aus dem Süden: Äpfel, Öl, süße Brötchen und ein Café an jeder Straße. " * 6
    return as_text(ARTICLES["coffee"]) + legacy.encode("cp1252")


def film_without_streams() -> bytes:
    """An MP4 whose list of tracks is empty."""
    header = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"isom", 512, b"isom", b"mp41")
    movie_header = struct.pack(">I4sIIIIIIH10x", 108, b"mvhd", 0, 0, 0, 1000, 0, 0x00010000, 0x0100)
    movie_header += struct.pack(">9I", 0x00010000, 0, 0, 0, 0x00010000, 0, 0, 0, 0x40000000) + bytes(24)
    movie_header += struct.pack(">I", 1)
    return header + struct.pack(">I4s", 8 + len(movie_header), b"moov") + movie_header


def truncated_film() -> bytes:
    """The first half of an MP4, whose index was at its end."""
    whole = encode_clip(draw_clip(5, 128)[0], "mp4", "libx264")
    return whole[: len(whole) // 2]


def wav_header_only() -> bytes:
    """A WAV that promises sound and holds none."""
    return encode_sound(draw_sound("bell", 0, 1.0), "wav", "pcm_s16le")[:44]


def lost_tiff() -> bytes:
    """A TIFF whose directory points outside the file."""
    written = io.BytesIO()
    Image.new("RGB", (64, 64)).save(written, "TIFF")
    return struct.pack("<2sHI", b"II", 42, 0x00FFFFFF) + written.getvalue()[8:200]


def random_bytes(seed: int) -> bytes:
    """Bytes that mean nothing."""
    return random.Random(seed).randbytes(20_000)  # noqa: S311 - must be the same each time


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
