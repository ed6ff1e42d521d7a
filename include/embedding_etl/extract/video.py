"""Film -> spans of fixed length: some frames, and the sound in their middle. Memory holds one span.

Spans are fixed in time rather than cut at shots: finding shots needs every frame at full rate and a threshold that fits
no two films, while a span's start and end are true by construction.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from include.embedding_etl.extract.opened import OpenObject
from include.embedding_etl.extract.span_sound import SpanSound
from include.embedding_etl.extract.streams import Container, Stream, check_duration, decode_stream, open_container
from include.embedding_etl.types import Segment

_MIN_SPAN_S = 0.2  # a last span shorter than this shows nothing that the one before did not
_CANDIDATES = 4  # frames looked at for each frame kept, so that a short last span is spaced evenly too
_ROUNDING_S = 1e-6
_ATTACHED_PICTURE = 0x400  # FFmpeg's disposition of a cover


def extract(opened: OpenObject) -> Iterator[Segment]:
    """Yield a segment for every `chunk.span_ms`, the last one shorter.

    A segment has `model_input.frames` frames, evenly spaced, each the centre square; a span with fewer pictures than
    that repeats some. Where the model wants sound, `clip_samples` from the middle of the span; silence where the film
    has none.

    Raises:
        PoisonObject: NoVideoStream, EmptyVideo, TruncatedVideo, CorruptVideo, UnsupportedCodec, TooLong, TooManyPixels.
    """
    with (
        open_container(opened) as container,
        SpanSound(opened) as sound,
    ):
        stream = _find_stream(opened, container)
        any_span = False
        for span in _spans(opened, container, stream):
            any_span = True
            yield Segment(
                round(span.start_s * 1000),
                round(span.end_s * 1000),
                frames=span.pick(opened.model_input.frames),
                samples=sound.between(span.clock_s + span.start_s, span.clock_s + span.end_s),
            )
        if not any_span:
            raise opened.poison("EmptyVideo", "no picture can be decoded from this file")


@dataclass(slots=True)
class _Span:
    """A span while it is being filled. Times count from the first picture, whose own clock says `clock_s`."""

    start_s: float
    clock_s: float
    end_s: float = 0.0
    times_s: list[float] = field(default_factory=list)
    pictures: list[NDArray[np.uint8]] = field(default_factory=list)

    def add(self, time_s: float, picture: NDArray[np.uint8]) -> None:
        """Append a picture that comes on screen at `time_s`."""
        self.times_s.append(time_s)
        self.pictures.append(picture)

    def close(self, length_s: float) -> Self:
        """Say how long it is, and give it away."""
        self.end_s = self.start_s + length_s
        return self

    def follow(self, time_s: float) -> "_Span":
        """The next span, given that the next picture comes at `time_s`."""
        following = _Span(self.end_s, self.clock_s)
        if time_s > following.start_s + _ROUNDING_S:
            following.add(following.start_s, self.pictures[-1])  # still on screen when the next span begins
        return following

    def pick(self, count: int) -> NDArray[np.uint8]:
        """What was on screen at the middle of each of `count` equal parts."""
        step_s = (self.end_s - self.start_s) / count
        wanted_s = self.start_s + (np.arange(count) + 0.5) * step_s
        shown = np.searchsorted(np.array(self.times_s), wanted_s + _ROUNDING_S, side="right") - 1
        return np.stack([self.pictures[max(index, 0)] for index in shown])


def _find_stream(opened: OpenObject, container: Container) -> Stream:
    for stream in container.streams.video:
        if not stream.disposition & _ATTACHED_PICTURE:
            return stream
    raise opened.poison("NoVideoStream", "there are no moving pictures in this file")


def _spans(opened: OpenObject, container: Container, stream: Stream) -> Iterator[_Span]:
    span_s = opened.chunk.span_ms / 1000
    known_s = (container.duration or 0) / 1_000_000
    step_s = min(span_s, known_s or span_s) / (opened.model_input.frames * _CANDIDATES)
    clock_s = time_s = end_s = next_s = 0.0
    span: _Span | None = None
    for frame in decode_stream(opened, container, stream):
        if span is None:
            clock_s = frame.time or 0.0
            span = _Span(0.0, clock_s)
        # Pictures without a time of their own follow the one before.
        time_s = max(time_s, frame.time - clock_s) if frame.time is not None else end_s
        check_duration(opened, time_s)
        end_s = time_s + _frame_s(frame, stream)
        if time_s < min(next_s, span.start_s + span_s - _ROUNDING_S):
            continue
        picture = _square(opened, frame)
        while time_s >= span.start_s + span_s - _ROUNDING_S:
            yield span.close(span_s)
            span = span.follow(time_s)
        span.add(time_s, picture)
        next_s = time_s + step_s - _ROUNDING_S
    if span is not None:
        while end_s > span.start_s + span_s + _ROUNDING_S:  # the last picture may stay for long
            yield span.close(span_s)
            span = span.follow(end_s)
        if span.start_s == 0 or end_s - span.start_s >= _MIN_SPAN_S - _ROUNDING_S:
            yield span.close(end_s - span.start_s)


def _frame_s(frame: Any, stream: Stream) -> float:
    if frame.duration and frame.time_base:
        return float(frame.duration * frame.time_base)
    return 1 / float(stream.average_rate) if stream.average_rate else 0.04


def _square(opened: OpenObject, frame: Any) -> NDArray[np.uint8]:
    """Shorter side to `size`, the centre square, upright. Nothing larger than that is ever turned into RGB."""
    size = opened.model_input.frame_size
    width, height = frame.width, frame.height
    if width * height > opened.limits.max_pixels:
        raise opened.poison(
            "TooManyPixels", f"more pixels than limits.max_pixels ({opened.limits.max_pixels:,}) allows"
        )
    scale = size / min(width, height)
    small_width, small_height = max(size, round(width * scale)), max(size, round(height * scale))
    small = frame.reformat(small_width, small_height, format="rgb24", interpolation="AREA").to_ndarray()
    left, top = (small_width - size) // 2, (small_height - size) // 2
    square = small[top : top + size, left : left + size]
    return np.ascontiguousarray(np.rot90(square, frame.rotation // 90 % 4))  # phones film sideways and say so
