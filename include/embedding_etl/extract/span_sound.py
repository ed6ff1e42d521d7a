"""The sound that goes with a span of film, decoded side by side with its pictures."""

from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import numpy as np

from include.embedding_etl.extract.opened import OpenObject
from include.embedding_etl.extract.streams import decode_sound, open_container
from include.embedding_etl.types import Vectors


class SpanSound:
    """Sound asked for in ascending order of time. It has a demuxer of its own: pictures and sound that are stored far
    from each other would otherwise have to wait in memory for their other half.
    """

    def __init__(self, opened: OpenObject) -> None:
        self._opened = opened
        self._rate_hz = opened.model_input.sample_rate_hz
        self._wanted = opened.model_input.clip_samples
        self._to_close = ExitStack()
        self._blocks: Iterator[tuple[float, Vectors]] = iter(())
        self._waiting: list[tuple[float, Vectors]] = []

    def __enter__(self) -> Self:
        if self._wanted:
            container = self._to_close.enter_context(open_container(self._opened))
            stream = container.streams.best("audio")
            if stream is not None:
                self._blocks = decode_sound(self._opened, container, stream, self._rate_hz)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._to_close.close()

    def between(self, start_s: float, end_s: float) -> Vectors | None:
        """`clip_samples` around the middle of a span, silence where there is no sound; None if the model wants none."""
        if not self._wanted:
            return None
        first_s = max(start_s, (start_s + end_s - self._wanted / self._rate_hz) / 2)
        last_s = min(first_s + self._wanted / self._rate_hz, end_s)
        clip = np.zeros(self._wanted, np.float32)
        for block_s, block in self._overlapping(first_s, last_s):
            offset = round((block_s - first_s) * self._rate_hz)
            source = block[max(0, -offset) :]
            target = clip[max(0, offset) : round((last_s - first_s) * self._rate_hz)]
            count = min(len(source), len(target))
            target[:count] = source[:count]
        return clip

    def _overlapping(self, first_s: float, last_s: float) -> list[tuple[float, Vectors]]:
        """Decode up to `last_s` and forget what ended before `first_s`."""
        self._waiting = [block for block in self._waiting if self._end_s(block) > first_s]
        while not self._waiting or self._end_s(self._waiting[-1]) < last_s:
            block = next(self._blocks, None)
            if block is None:
                break
            if self._end_s(block) > first_s:
                self._waiting.append(block)
        return self._waiting

    def _end_s(self, block: tuple[float, Vectors]) -> float:
        return block[0] + len(block[1]) / self._rate_hz
