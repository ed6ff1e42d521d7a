"""What an object is: by its first bytes, and only then by the extension of its key.

The signatures are our own table. The libraries we tried each get one of our types wrong: puremagic calls HEIC and M4A
film, libmagic calls plain text CSV, filetype knows neither SVG nor text, and magika brings a model and a runtime. What
is inside an MP4, Matroska or Ogg container is read by containers.py.
"""

import json
import re
from typing import BinaryIO

from include.embedding_etl.containers import container_type, may_need_full_body
from include.embedding_etl.types import Modality

UNKNOWN = "application/octet-stream"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
HEAD_BYTES = 64 << 10  # what `sniff` wants to see; less is fine when the object is shorter

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (0, b"II+\0", "image/tiff"),
    (0, b"MM\0+", "image/tiff"),
    (0, b"fLaC", "audio/flac"),
    (0, b"\x1f\x8b\x08", "application/gzip"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"{\\rtf", "application/rtf"),
    (0, b"%!PS", "application/postscript"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),  # .doc, .xls, .msg
    (0, b"\x7fELF", "application/x-executable"),
)
_RIFF = {b"WAVE": "audio/wav", b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}
_BMP_HEADER_BYTES = {12, 16, 40, 52, 56, 64, 108, 124}
_TEXT_BY_EXTENSION = {
    "md": "text/markdown",
    "markdown": "text/markdown",
    "mdown": "text/markdown",
    "html": "text/html",
    "htm": "text/html",
    "xhtml": "text/html",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "json": "application/json",
    "jsonl": "application/json",
    "ndjson": "application/json",
    "geojson": "application/json",
}
_PROLOGUE = re.compile(rb"^(?:\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE\s+(?!html|svg)[^>]*>)*", re.DOTALL | re.IGNORECASE)
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body|title|meta)\b", re.IGNORECASE)
_SVG = re.compile(rb"<(?:!doctype\s+svg|svg|svg:svg)\b", re.IGNORECASE)
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\b\x1b") | {127})
_BOMS = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def sniff(head: bytes, key: str) -> str:
    """The media type of an object.

    CSV and Markdown look like any other text: for them the extension decides, once the content is known to be text.

    Args:
        head: The first HEAD_BYTES, or all of it.
        key: For its extension, where the content leaves a choice.
    Returns:
        UNKNOWN when nothing fits; then no lane takes it.
    """
    found = _binary_type(head, key)
    if found:
        return found
    return _text_type(head, key) if _is_text(head) else UNKNOWN


def needs_full_body(media_type: str, head: bytes) -> bool:
    """Whether `head` leaves open if this is film or sound, as an MP4 with its index at the end. Then `sniff_stream`."""
    return may_need_full_body(media_type, head)


def sniff_stream(body: BinaryIO, key: str) -> str:
    """The media type of an object that is here completely. Reads its first bytes and seeks to the container's index.

    Args:
        body: Seekable; left at position 0.
        key: As for `sniff`.
    """
    body.seek(0)
    head = body.read(HEAD_BYTES)
    found = container_type(body) or sniff(head, key)
    body.seek(0)
    return found


def modality(media_type: str) -> Modality | None:
    """What kind of segments an object of this type yields, or None when we do not extract anything from it."""
    if media_type in (DOCX, "application/pdf", "application/json"):
        return "text"
    if media_type == "image/svg+xml":
        return None
    kinds: dict[str, Modality] = {"text": "text", "image": "image", "audio": "audio", "video": "video"}
    return kinds.get(media_type.partition("/")[0])


def _extension(key: str) -> str:
    name = key.rpartition("/")[2]
    return name.rpartition(".")[2].lower() if "." in name else ""


def _binary_type(head: bytes, key: str) -> str:
    for offset, signature, media_type in _SIGNATURES:
        if head.startswith(signature, offset):
            return media_type
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_BYTES:
        return "image/bmp"
    if head[:4] == b"PK\x03\x04":
        return _zip_type(head, key)
    # Some writers put rubbish before the header, as the PDF specification allows: then the extension must agree.
    if head.lstrip(b"\xef\xbb\xbf \t\r\n\0")[:5] == b"%PDF-" or (_extension(key) == "pdf" and b"%PDF-" in head[:1024]):
        return "application/pdf"
    return container_type(head) or _mpeg_audio_type(head, key)


def _zip_type(head: bytes, key: str) -> str:
    # The names of the entries stand before each of them; word/ may lie behind 64 KiB of pictures.
    if b"[Content_Types].xml" in head and (b"word/" in head or _extension(key) == "docx"):
        return DOCX
    return "application/zip"


def _mpeg_audio_type(head: bytes, key: str) -> str:
    """MP3 with or without an ID3 tag, and AAC. Two bytes of sync are too little: the second frame must follow."""
    if head[:3] == b"ID3" and len(head) >= 10 and head[3] < 5 and max(head[6:10]) < 0x80:
        size = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        return "audio/flac" if head.startswith(b"fLaC", 10 + size) else "audio/mpeg"
    if head[:1] == b"\xff" and len(head) >= 7 and head[1] & 0xF6 == 0xF0:  # layer bits 0: ADTS
        size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        return "audio/aac" if size > 6 and head[size : size + 2] in (head[:2], b"") else ""
    # A recording of a stream begins in the middle of a frame: then the extension must agree.
    starts = [found.start() for found in re.finditer(b"\xff", head)] if _extension(key) == "mp3" else [0]
    return "audio/mpeg" if any(_two_mp3_frames(head, start) for start in starts) else ""


def _two_mp3_frames(head: bytes, start: int) -> bool:
    """Whether a frame begins here, and another one (or nothing) behind it."""
    size = _mp3_frame_bytes(head[start : start + 3])
    following = head[start + size : start + size + 3]
    return size > 0 and ((start == 0 and len(following) < 3) or _mp3_frame_bytes(following) > 0)


def _mp3_frame_bytes(header: bytes) -> int:
    """Length of a frame of layer III from its header; 0 when it is not one. ISO 11172-3, 2.4.1.3 and 2.4.2.3."""
    if len(header) < 3 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    second, third = header[1], header[2]
    version, layer = second >> 3 & 3, second >> 1 & 3
    bitrate_index, rate_index, padding = third >> 4, third >> 2 & 3, third >> 1 & 1
    if version == 1 or layer != 1 or bitrate_index in (0, 15) or rate_index == 3:
        return 0
    first = version == 3
    bitrates = (
        (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
        if first
        else (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    )
    rate_hz = (44_100, 48_000, 32_000)[rate_index] // {3: 1, 2: 2, 0: 4}[version]
    return (144 if first else 72) * bitrates[bitrate_index - 1] * 1000 // rate_hz + padding


def _is_text(head: bytes) -> bool:
    """Text in whatever encoding, a few bad bytes included. What tells rubbish from text is control characters."""
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return _is_wide_text(head, encoding)
    if head.count(0) > len(head) // 5:  # every other byte of Latin letters in UTF-16
        return _is_wide_text(head, "utf-16-le" if head[1:2] == b"\0" else "utf-16-be")
    return len(head) - len(head.translate(None, _CONTROLS)) <= len(head) // 100


def _is_wide_text(head: bytes, encoding: str) -> bool:
    text = head[: len(head) // 4 * 4].decode(encoding, "replace")
    strange = sum(not (char.isprintable() or char in "\t\n\r\f\ufeff") for char in text)
    replaced = text.count("\ufffd")
    return bool(text) and strange + replaced <= len(text) // 100


def _text_type(head: bytes, key: str) -> str:
    named = _TEXT_BY_EXTENSION.get(_extension(key), "")
    start = head[3:] if head.startswith(b"\xef\xbb\xbf") else head
    prologue = _PROLOGUE.match(start)
    body = start[prologue.end() :] if prologue else start
    if _SVG.match(body):
        return "image/svg+xml"
    if _HTML.match(body):
        return "text/html"
    if _is_json(start):
        return "application/json"
    return named or "text/plain"


def _is_json(start: bytes) -> bool:
    """A complete object or array. A cut one cannot be told from text in brackets: the extension has to say it."""
    if start.lstrip()[:1] not in (b"{", b"[") or len(start) >= HEAD_BYTES:
        return False
    try:
        json.loads(start)
    except (ValueError, RecursionError):
        return False
    return True
