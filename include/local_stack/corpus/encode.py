"""Writes sounds and clips with PyAV, in containers and codecs of many kinds, the same bytes each time."""

import io
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from include.local_stack.corpus.sounds import RATE_HZ, Samples

# Muxers and encoders write random ids, times and their version otherwise.
_BITEXACT = {"fflags": "+bitexact"}
_SAME_EACH_TIME = {"flags": "+bitexact", "strict": "experimental"}  # FFmpeg calls its own Vorbis encoder that


def encode_sound(samples: Samples, container: str, codec: str, rate_hz: int = RATE_HZ, channels: int = 1) -> bytes:
    """A sound file.

    Args:
        samples: Mono at 32 kHz.
        container: FFmpeg's name of the format: wav, mp3, flac, ogg, ipod …
        codec: FFmpeg's name of the encoder.
        rate_hz: Rate in the file.
        channels: 1 or 2.
    """
    import av

    written = io.BytesIO()
    with av.open(written, "w", format=container, options=_BITEXACT) as target:
        stream = target.add_stream(codec, rate=rate_hz)
        stream.options = _SAME_EACH_TIME
        stream.layout = "mono" if channels == 1 else "stereo"
        _mux_sound(target, stream, samples)
    return written.getvalue()


def encode_clip(
    frames: NDArray[np.uint8],
    container: str,
    codec: str,
    frames_per_s: int = 8,
    sound: Samples | None = None,
    sound_codec: str = "aac",
) -> bytes:
    """A film from frames of shape (n, height, width, 3), with or without sound."""
    import av

    written = io.BytesIO()
    with av.open(written, "w", format=container, options=_BITEXACT) as target:
        picture = target.add_stream(codec, rate=Fraction(frames_per_s))
        picture.height, picture.width = frames.shape[1:3]
        picture.pix_fmt = "yuv420p"
        picture.options = {**_SAME_EACH_TIME, "threads": "1"}
        picture.thread_count = 1
        speech = None
        if sound is not None:
            speech = target.add_stream(sound_codec, rate=48_000)
            speech.options = _SAME_EACH_TIME
            speech.layout = "mono"
        for pixels in frames:
            target.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        target.mux(picture.encode(None))
        if speech is not None and sound is not None:
            _mux_sound(target, speech, sound)
    return written.getvalue()


def repeat_frames(frames: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
    """Play a clip several times over."""
    return np.concatenate([frames] * times)


def _mux_sound(target, stream, samples: Samples) -> None:  # type: ignore[no-untyped-def]  # PyAV has no types here
    import av

    resampler = av.AudioResampler(format=stream.format, layout=stream.layout, rate=stream.rate)
    blocks: Sequence[Samples] = np.array_split(samples, max(1, samples.size // 4096))
    position = 0
    for block in [*blocks, None]:
        frame = None
        if block is not None:
            frame = av.AudioFrame.from_ndarray(block[None, :], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE_HZ, position
            frame.time_base = Fraction(1, RATE_HZ)
            position += block.size
        for resampled in resampler.resample(frame):
            target.mux(stream.encode(resampled))
    target.mux(stream.encode(None))
