"""Sound -> windows of mono samples. Memory holds one window, however long the recording."""

from collections.abc import Iterator

import numpy as np

from include.embedding_etl.extract.opened import OpenObject
from include.embedding_etl.extract.streams import Container, Stream, check_duration, decode_sound, open_container
from include.embedding_etl.types import Segment, Vectors

_MIN_NEW_MS = 100  # a last window that adds less than this to the one before it is left out


def extract(opened: OpenObject) -> Iterator[Segment]:
    """Yield windows of `model_input.window_ms`, one every `chunk.hop_ms` (0, or more than a window: edge to edge).

    The last window may be shorter; it is not padded, since how to pad is the model's business.

    Raises:
        PoisonObject: NoAudioStream, EmptyAudio, TruncatedAudio, CorruptAudio, UnsupportedCodec, TooLong.
    """
    rate_hz = opened.model_input.sample_rate_hz
    window = rate_hz * opened.model_input.window_ms // 1000
    hop = min(rate_hz * opened.chunk.hop_ms // 1000 or window, window)  # a hop beyond the window would skip sound
    with open_container(opened) as container:
        stream = container.streams.best("audio")
        if stream is None:
            raise opened.poison("NoAudioStream", "there is no sound in this file")
        position = 0
        for start, samples in _windows(_samples(opened, container, stream), window, hop, rate_hz):
            position = start + len(samples)
            yield Segment(start * 1000 // rate_hz, position * 1000 // rate_hz, samples=samples)
        if position == 0:
            raise opened.poison("EmptyAudio", "the file has a header but no sound")


def _samples(opened: OpenObject, container: Container, stream: Stream) -> Iterator[Vectors]:
    given = 0
    for _, samples in decode_sound(opened, container, stream, opened.model_input.sample_rate_hz):
        given += len(samples)
        check_duration(opened, given / opened.model_input.sample_rate_hz)
        yield samples


def _windows(blocks: Iterator[Vectors], window: int, hop: int, rate_hz: int) -> Iterator[tuple[int, Vectors]]:
    """(start, samples) of each window, in samples."""
    waiting: list[Vectors] = []
    count = position = covered = 0
    for block in blocks:
        waiting.append(block)
        count += len(block)
        if count < window:
            continue
        buffer = np.concatenate(waiting)
        while len(buffer) >= window:
            yield position, buffer[:window].copy()
            covered = position + window
            position += hop
            buffer = buffer[hop:]
        waiting, count = [buffer.copy()], len(buffer)
    if covered == 0 or position + count - covered >= rate_hz * _MIN_NEW_MS // 1000:
        tail = np.concatenate(waiting) if count else np.empty(0, np.float32)
        if len(tail):
            yield position, tail
