"""Containers of sound and film, through PyAV: opening them safely, and decoding one stream frame by frame."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
import numpy as np

from include.embedding_etl.extract.body_view import BodyView
from include.embedding_etl.extract.cut_off import is_cut_off
from include.embedding_etl.extract.opened import OpenObject
from include.embedding_etl.media_types import modality
from include.embedding_etl.types import Vectors

# Playlists name other files and URLs: neither their formats nor any network protocol is let in.
_OPTIONS = {
    "protocol_whitelist": "file,pipe",
    "format_whitelist": "mov,matroska,webm,ogg,wav,w64,flac,mp3,aac,aiff,caf,amr,asf,avi,flv,mpeg,mpegts",
}
# Their headers say how long they are; of the others we only see that they end. ASF, TS, MP3, ADTS and Ogg do not tell.
_TELLING_FORMATS = ("mov", "matroska", "avi", "wav", "w64", "flac", "aiff", "caf")
_TOLERANCE_S = 0.5
_TOLERANCE_SHARE = 0.01
_MAX_BROKEN_SHARE = 0.1
_READ_BYTES = 1 << 18

Container = Any  # PyAV's types are skipped by the type checker
Stream = Any
Frame = Any


@contextmanager
def open_container(opened: OpenObject) -> Iterator[Container]:
    """Open a container and close it on leaving.

    Raises:
        PoisonObject: Corrupt…, or TooLong by what the header says.
    """
    av.logging.set_level(av.logging.PANIC)  # broken files are reported by us, once
    try:
        container = av.open(
            BodyView(opened.body),
            mode="r",
            container_options=_OPTIONS,
            metadata_errors="replace",
            buffer_size=_READ_BYTES,
        )
    except av.error.MemoryError:
        raise
    except av.error.FFmpegError as error:
        if is_cut_off(opened.body):
            raise opened.poison(_class("Truncated", opened), "the file is cut off before its index") from error
        raise opened.poison(_class("Corrupt", opened), f"not readable: {error.strerror}") from error
    with container:
        check_duration(opened, (container.duration or 0) / av.time_base)
        yield container


def check_duration(opened: OpenObject, duration_s: float) -> None:
    """Raise PoisonObject TooLong above limits.max_duration_s."""
    if duration_s > opened.limits.max_duration_s:
        raise opened.poison("TooLong", f"longer than limits.max_duration_s ({opened.limits.max_duration_s:,} s) allows")


def decode_stream(opened: OpenObject, container: Container, stream: Stream) -> Iterator[Frame]:
    """Yield the decoded frames of one stream. A few broken packets are skipped, as every player does.

    A file that ends before its header says is refused after the last frame: half a film indexed as a whole one would be
    a silent loss.

    Raises:
        PoisonObject: Truncated…, Corrupt… (more than 1 packet in 10), UnsupportedCodec.
    """
    if stream.codec_context is None:
        raise opened.poison("UnsupportedCodec", "there is no decoder for its codec")
    packets = broken = 0
    reached_s = 0.0
    cut_off = False
    try:
        for (
            packet
        ) in container.demux():  # all streams: any of them may be the one that lasts as long as the header says
            if packet.size:
                cut_off = packet.is_corrupt
                reached_s = max(reached_s, _end_s(packet))
            if packet.stream.index != stream.index:
                continue
            packets += 1
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                broken += 1
                continue
            yield from frames
    except av.error.MemoryError:
        raise
    except av.error.FFmpegError as error:
        raise opened.poison(_class("Corrupt", opened), f"cannot be decoded: {error.strerror}") from error
    _refuse_cut(opened, container, reached_s, cut_off)
    if broken > _MAX_BROKEN_SHARE * packets:
        raise opened.poison(_class("Corrupt", opened), f"{broken:,} of {packets:,} packets cannot be decoded")


def decode_sound(
    opened: OpenObject, container: Container, stream: Stream, rate_hz: int
) -> Iterator[tuple[float, Vectors]]:
    """Yield (start in seconds by the file's own clock, mono float32 samples at `rate_hz`), contiguous.

    Raises:
        PoisonObject: as `decode_stream`.
    """
    resampler: Any = None
    source: tuple[object, ...] = ()
    start_s: float | None = None
    given = 0
    for frame in _with_end(decode_stream(opened, container, stream)):
        outputs: list[Frame] = []
        # Chained Ogg and broadcast streams change their rate or channels in the middle.
        frame_source = () if frame is None else (frame.format.name, frame.layout.name, frame.sample_rate)
        if frame_source != source:
            outputs += resampler.resample(None) if resampler else []
            resampler = av.AudioResampler(format="flt", rate=rate_hz) if frame is not None else None
            source = frame_source
        if frame is not None:
            start_s = (frame.time or 0.0) if start_s is None else start_s
            outputs += resampler.resample(frame)
        for output in outputs:
            # The mean, as the models were trained: FFmpeg's own mixing makes two equal channels 3 dB louder, and clips.
            samples = np.clip(output.to_ndarray().reshape(-1, output.layout.nb_channels).mean(axis=1), -1.0, 1.0)
            yield (start_s or 0.0) + given / rate_hz, samples
            given += len(samples)


def _with_end(frames: Iterator[Frame]) -> Iterator[Frame | None]:
    yield from frames
    yield None


def _end_s(packet: Any) -> float:
    if packet.pts is None or packet.time_base is None:
        return 0.0
    return float((packet.pts + (packet.duration or 0)) * packet.time_base)


def _refuse_cut(opened: OpenObject, container: Container, reached_s: float, cut_off: bool) -> None:
    if not container.format.name.startswith(_TELLING_FORMATS):
        return
    said_s = (container.duration or 0) / av.time_base
    start_s = (container.start_time or 0) / av.time_base
    missing_s = said_s - (reached_s - start_s)
    if container.format.name == "avi":  # FFmpeg makes up a length that fits what is there
        cut_off = cut_off or is_cut_off(opened.body)
    if cut_off or missing_s > max(_TOLERANCE_S, _TOLERANCE_SHARE * said_s):
        missing = f"; about {missing_s:.1f} s are missing" if missing_s > _TOLERANCE_S else ""
        raise opened.poison(_class("Truncated", opened), f"the file is cut off{missing}")


def _class(what: str, opened: OpenObject) -> str:
    """TruncatedAudio, CorruptVideo and so on: by what the object is, also while the sound of a film is read."""
    return what + str(modality(opened.media_type)).capitalize()
