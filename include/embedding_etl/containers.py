"""Film or sound? Looks for the tracks of ISO base media (MP4, MOV, HEIC), Matroska and Ogg, without a decoder.

Only box and element headers are read, with bounds on how many: a hostile file costs a few seeks. That is why this may
run in the main process, where no decoder may.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_MAX_BOXES = 4_096
_QUICKTIME_STARTS = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_AUDIO_BRANDS = {b"M4A ", b"M4B ", b"M4P "}
_EBML = 0x1A45DFA3
_SEGMENT = 0x18538067
_TRACKS = 0x1654AE6B
_TRACK_ENTRY = 0xAE
_TRACK_TYPE = 0x83


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int  # of the content
    end: int


def container_type(data: bytes | BinaryIO) -> str:
    """The media type of a container, or "" when it is none of those known here.

    Where the tracks are not within `data`, a file of sound and film is called film: see `may_need_full_body`.
    """
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    stream.seek(0)
    start = stream.read(4096)
    if start[:5] == b"OggS\0":
        return _ogg_type(start)
    if start[:4] == _EBML.to_bytes(4, "big"):
        return _matroska_type(stream, start)
    # The box's size comes first: a text such as "feel free to …" has letters there.
    if start[:2] == b"\0\0" and start[4:8] == b"ftyp":
        return _iso_type(stream, start)
    if start[:1] < b"\x09" and start[4:8] in _QUICKTIME_STARTS:
        return "audio/mp4" if _iso_tracks(stream) == {b"soun"} else "video/quicktime"
    return ""


def may_need_full_body(media_type: str, head: bytes) -> bool:
    """Whether the tracks that would decide between film and sound lie behind `head`."""
    stream = io.BytesIO(head)
    if media_type in ("video/mp4", "video/quicktime", "video/3gpp"):
        return _iso_tracks(stream) is None
    if media_type in ("video/webm", "video/x-matroska"):
        return _matroska_tracks(stream) is None
    return False


def _ogg_type(start: bytes) -> str:
    """The first pages announce all streams: https://www.rfc-editor.org/rfc/rfc5334"""
    if b"\x80theora" in start or b"OVP80" in start or b"BBCD\0" in start:
        return "video/ogg"
    return "audio/ogg"


def _iso_type(stream: BinaryIO, start: bytes) -> str:
    size = min(int.from_bytes(start[:4], "big"), len(start))
    major = start[8:12]
    brands = {major} | {start[at : at + 4] for at in range(16, size - 3, 4)}
    if major in _AVIF_BRANDS or (major in (b"mif1", b"msf1") and brands & _AVIF_BRANDS):
        return "image/avif"
    if major in _HEIC_BRANDS:
        return "image/heic"
    if major in _AUDIO_BRANDS or _iso_tracks(stream) == {b"soun"}:
        return "audio/mp4"
    if major == b"qt  ":
        return "video/quicktime"
    return "video/3gpp" if major.startswith((b"3gp", b"3g2")) else "video/mp4"


def _iso_tracks(stream: BinaryIO) -> set[bytes] | None:
    """The handlers of all tracks (`vide`, `soun` and others that do not count); None when the index is not there."""
    length = stream.seek(0, io.SEEK_END)
    for box in _iso_boxes(stream, 0, length):
        if box.kind != b"moov":
            continue
        if box.end > length:
            return None
        handlers: set[bytes] = set()
        for track in _iso_boxes(stream, box.start, box.end, b"trak"):
            for media in _iso_boxes(stream, track.start, track.end, b"mdia"):
                for handler in _iso_boxes(stream, media.start, media.end, b"hdlr"):
                    stream.seek(handler.start + 8)
                    handlers.add(stream.read(4))
        return handlers & {b"vide", b"soun"}
    return None


def _iso_boxes(stream: BinaryIO, start: int, end: int, kind: bytes = b"") -> Iterator[_Box]:
    """The boxes between two positions, of one kind or all. ISO 14496-12, 4.2."""
    for _ in range(_MAX_BOXES):
        stream.seek(start)
        header = stream.read(16)
        if start + 8 > end or len(header) < 8:
            return
        size, found, header_bytes = int.from_bytes(header[:4], "big"), header[4:8], 8
        if size == 1:
            size, header_bytes = int.from_bytes(header[8:16], "big"), 16
        elif size == 0:
            size = end - start
        if size < header_bytes:
            return
        if kind in (b"", found):
            yield _Box(found, start + header_bytes, start + size)
        start += size


def _matroska_type(stream: BinaryIO, start: bytes) -> str:
    family = "webm" if b"webm" in start[:64] else "x-matroska"
    tracks = _matroska_tracks(stream)
    return f"audio/{family}" if tracks and 1 not in tracks and 2 in tracks else f"video/{family}"


def _matroska_tracks(stream: BinaryIO) -> set[int] | None:
    """The types of all tracks: 1 is film, 2 is sound. None when they are not there. RFC 9559, 5.1.4.1.3."""
    length = stream.seek(0, io.SEEK_END)
    for segment in _ebml_elements(stream, 0, length, _SEGMENT):
        for tracks in _ebml_elements(stream, segment[0], min(segment[1], length), _TRACKS):
            if tracks[1] > length:
                return None
            found: set[int] = set()
            for entry in _ebml_elements(stream, *tracks, _TRACK_ENTRY):
                for begin, end in _ebml_elements(stream, *entry, _TRACK_TYPE):
                    stream.seek(begin)
                    found.add(int.from_bytes(stream.read(min(end - begin, 8)), "big"))
            return found
    return None


def _ebml_elements(stream: BinaryIO, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the contents of each wanted element between two positions. RFC 8794, 4 and 5."""
    for _ in range(_MAX_BOXES):
        stream.seek(start)
        header = stream.read(12)
        if start >= end or len(header) < 2:
            return
        id_bytes = 9 - header[0].bit_length()
        if id_bytes > 4 or len(header) <= id_bytes:
            return
        identity = int.from_bytes(header[:id_bytes], "big")
        size_bytes = 9 - header[id_bytes].bit_length()
        if size_bytes > 8:
            return
        size = int.from_bytes(header[id_bytes : id_bytes + size_bytes], "big") & ((1 << 7 * size_bytes) - 1)
        content = start + id_bytes + size_bytes
        unknown = size == (1 << 7 * size_bytes) - 1  # a live recording: it ends where its parent does
        following = end if unknown else content + size
        if identity == wanted:
            yield content, following
        start = following
