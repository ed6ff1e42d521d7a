"""What people may see of an object: a small picture that we have drawn ourselves, or sound and film as they are.

Nothing else: an SVG or HTML file of somebody's bucket, served from here, could act in the name of whoever looks at it.
"""

import io
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from include.embedding_etl.decoding.process import DecoderPool
from include.embedding_etl.errors import EmbeddingEtlError, PoisonObject
from include.embedding_etl.media_types import modality
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.status.access import Denied
from include.embedding_etl.status.objects_queries import find_object
from include.embedding_etl.storage.base import Source
from include.embedding_etl.types import ChunkSettings, Limits, ListedObject, ModelInput, ObjectRecord

EDGE_PX = 320
MAX_PICTURE_BYTES = 64 << 20
MAX_MEDIA_BYTES = 256 << 20
MAX_POSTER_BYTES = 64 << 20  # a decoder needs all of a film, wherever its index is
MEDIA_TYPES = frozenset(
    {
        "audio/aac",
        "audio/flac",
        "audio/mp4",
        "audio/mpeg",
        "audio/ogg",
        "audio/wav",
        "video/3gpp",
        "video/mp4",
        "video/ogg",
        "video/quicktime",
        "video/webm",
        "video/x-matroska",
        "video/x-msvideo",
    }
)
_PICTURE = ModelInput(("image",), image_size=EDGE_PX)
_SPAN_MS = 200
_FILM = ModelInput(("video",), frames=1, frame_size=EDGE_PX)
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of an object's bytes."""

    start: int
    length: int
    size_bytes: int  # of all
    is_all: bool


def has_preview(media_type: str, size_bytes: int = 0) -> bool:
    """Whether there is something to see or to hear, and not too much of it."""
    if modality(media_type) == "image":
        return size_bytes <= MAX_PICTURE_BYTES
    return media_type in MEDIA_TYPES and size_bytes <= MAX_MEDIA_BYTES


def draw(decoders: DecoderPool, key: str, body: BinaryIO, media_type: str, limits: Limits) -> bytes:
    """A picture, decoded in a process of its own and drawn again, small, as WebP.

    Raises:
        PoisonObject: it cannot be decoded within the limits.
    """
    (chunk,) = decoders.decode(key, body, media_type, _PICTURE, ChunkSettings(), _stricter(limits))
    assert chunk.pixels is not None  # noqa: S101 - what the picture extractor yields
    return _as_webp(chunk.pixels)


def draw_first_frame(decoders: DecoderPool, key: str, body: BinaryIO, media_type: str, limits: Limits) -> bytes:
    """How a film begins, decoded and drawn as a picture is: the middle square.

    Raises:
        PoisonObject: it cannot be decoded within the limits.
    """
    # After one short span it is enough: the second is refused, and the process is free for the next film.
    enough = replace(_stricter(limits), max_chunks=1)
    chunks = decoders.decode(key, body, media_type, _FILM, ChunkSettings(span_ms=_SPAN_MS), enough)
    first = next(chunks)
    with suppress(PoisonObject):
        deque(chunks, maxlen=0)
    assert first.frames is not None  # noqa: S101 - what the film extractor yields
    return _as_webp(first.frames[0])


def _stricter(limits: Limits) -> Limits:
    """Somebody waits for it."""
    return replace(
        limits,
        max_pixels=min(limits.max_pixels, 50_000_000),
        decode_timeout_s=min(limits.decode_timeout_s, 20.0),
        decode_memory_bytes=min(limits.decode_memory_bytes, 1 << 30),
    )


def _as_webp(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((EDGE_PX, EDGE_PX))
    drawn = io.BytesIO()
    image.save(drawn, "WEBP", quality=80)
    return drawn.getvalue()


def thumbnail(runtime: Runtime, decoders: DecoderPool, record: ObjectRecord) -> bytes:
    """A small picture of an object that is one.

    Raises:
        Denied: it is too large, or cannot be decoded.
    """
    _require_size(record, MAX_PICTURE_BYTES)
    try:
        with runtime.source.fetch(record.listed()) as fetched:
            return draw(decoders, record.key, fetched.body, record.media_type, runtime.pipeline.limits)
    except PoisonObject as error:
        raise Denied(422, f"There is no preview: {error.message}") from error


def poster(runtime: Runtime, decoders: DecoderPool, record: ObjectRecord) -> bytes:
    """What a player shows before it plays: the film's first picture, or plain grey where that cannot be had.

    Plain grey rather than an error: a poster is an ornament, and browsers complain aloud about one that fails.
    """
    if record.size_bytes > MAX_POSTER_BYTES:
        return no_poster()
    try:
        with runtime.source.fetch(record.listed()) as fetched:
            return draw_first_frame(decoders, record.key, fetched.body, record.media_type, runtime.pipeline.limits)
    except EmbeddingEtlError:
        return no_poster()


@lru_cache(maxsize=1)
def no_poster() -> bytes:
    """Plain grey."""
    return _as_webp(np.full((16, 16, 3), 128, np.uint8))


def open_media(runtime: Runtime, record: ObjectRecord, range_header: str) -> tuple[Stretch, Iterator[bytes]]:
    """The bytes of sound or film that were asked for, block by block as the player takes them.

    Each block is asked of the source by itself, with the version: of an object that changes meanwhile nothing more
    comes, and no connection to the source waits for a player that was paused.

    Raises:
        Denied: too large, or the range is beyond the end.
        EmbeddingEtlError: the first block cannot be had.
    """
    _require_size(record, MAX_MEDIA_BYTES)
    stretch = parse_range(range_header, record.size_bytes)
    source, listed = runtime.source, record.listed()
    try:
        first = source.read_range(listed, stretch.start, min(_READ_BYTES, stretch.length))
    except PoisonObject as error:
        raise Denied(422, f"There is no preview: {error.message}") from error
    return stretch, _blocks(source, listed, stretch, first)


def find_previewable(runtime: Runtime, key: str) -> ObjectRecord:
    """An object that the ledger knows and that has a preview.

    Raises:
        Denied: it does not, or has none.
    """
    record = find_object(runtime, key)
    if record.vanished:
        raise Denied(404, "The object is gone from storage.")
    if not has_preview(record.media_type):
        raise Denied(415, f"There is no preview of {record.media_type or 'this object'}.")
    return record


def parse_range(header: str, size_bytes: int) -> Stretch:
    """One range of bytes, as players ask for it. Whatever else is asked for gets all of it. RFC 9110, 14.2.

    Raises:
        Denied: 416, it begins behind the end.
    """
    everything = Stretch(0, size_bytes, size_bytes, True)
    unit, _, asked = header.partition("=")
    first, dash, last = asked.strip().partition("-")
    if unit.strip() != "bytes" or not dash or not all(part == "" or _is_number(part) for part in (first, last)):
        return everything
    if first == "":
        if last == "":
            return everything
        start, end = max(0, size_bytes - int(last)), size_bytes
    else:
        start, end = int(first), min(int(last) + 1, size_bytes) if last else size_bytes
        if last and int(last) < start:
            return everything
    if start >= size_bytes:
        raise Denied(416, f"There are {size_bytes} bytes.")
    return Stretch(start, end - start, size_bytes, False)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 15


def _require_size(record: ObjectRecord, most_bytes: int) -> None:
    if record.size_bytes > most_bytes:
        raise Denied(413, f"There is no preview: larger than {most_bytes >> 20} MiB.")


def _blocks(source: Source, listed: ListedObject, stretch: Stretch, first: bytes) -> Iterator[bytes]:
    yield first
    for start in range(stretch.start + len(first), stretch.start + stretch.length, _READ_BYTES):
        yield source.read_range(listed, start, min(_READ_BYTES, stretch.start + stretch.length - start))
