"""Film becomes spans of evenly spaced frames with the sound of their middle."""

from pathlib import Path

import numpy as np
import pytest

from include.embedding_etl.types import ChunkSettings, Limits, ModelInput, Segment
from tests.fixtures_media import (
    RATE_HZ,
    extract_all,
    make_brightening,
    make_film,
    make_mp4_without_streams,
    make_noise,
    make_quarters,
    make_sound,
    make_tone,
    opened,
    refusal,
    turn_film,
)

VIDEO = ModelInput(("video",), sample_rate_hz=RATE_HZ, frames=8, frame_size=32, clip_samples=RATE_HZ // 2)


def spans(data: bytes, span_ms: int = 1_000, model_input: ModelInput = VIDEO) -> list[Segment]:
    return extract_all(opened(data, "video/mp4", model_input, ChunkSettings(span_ms=span_ms)))


def brightness(segment: Segment) -> list[int]:
    assert segment.frames is not None
    return [int(frame.mean()) for frame in segment.frames]


@pytest.mark.parametrize(
    ("container_format", "codec", "sound_codec"),
    [
        ("mp4", "libx264", "aac"),
        ("mov", "mpeg4", "aac"),
        ("webm", "libvpx-vp9", "libopus"),
        ("matroska", "libx265", "libopus"),
        ("avi", "mpeg4", "libmp3lame"),
    ],
)
def test_every_container_becomes_spans(container_format: str, codec: str, sound_codec: str) -> None:
    data = make_film(container_format, codec, sound=make_tone(3, 48_000), sound_codec=sound_codec)
    segments = spans(data)
    assert [segment.start for segment in segments] == [0, 1000, 2000]
    assert segments[-1].end == pytest.approx(3000, abs=110)
    for segment in segments:
        assert segment.frames is not None
        assert segment.frames.shape == (8, 32, 32, 3)
        assert segment.frames.dtype == np.uint8
        assert segment.samples is not None
        assert segment.samples.shape == (RATE_HZ // 2,)
        assert np.abs(segment.samples).max() == pytest.approx(0.5, abs=0.12)


def test_frames_are_evenly_spaced_and_show_what_was_on_screen_then() -> None:
    count = 40
    film = make_film(pictures=make_brightening(count))  # 10 a second: frame n shows 20 + 5 n
    first, *_, last = spans(film)
    expected = [20 + 200 * int((index + 0.5) / 8 * 10) // count for index in range(8)]
    assert brightness(first) == pytest.approx(expected, abs=4)
    assert brightness(last) == pytest.approx([150 + value for value in expected], abs=4)


def test_a_short_film_is_spread_over_its_own_length() -> None:
    (only,) = spans(make_film(pictures=make_brightening(8)), span_ms=5_000)
    assert (only.start, only.end) == (0, 800)
    assert brightness(only) == pytest.approx([20 + 25 * index for index in range(8)], abs=4)


def test_a_film_of_one_picture_repeats_it() -> None:
    (only,) = spans(make_film(pictures=make_brightening(1)))
    assert len(set(brightness(only))) == 1


def test_slow_pictures_stay_on_screen_over_several_spans() -> None:
    slides = make_film(pictures=make_brightening(3), frames_per_second=1)
    segments = spans(slides, span_ms=500)
    assert [segment.start for segment in segments] == [0, 500, 1000, 1500, 2000, 2500]
    assert [brightness(segment)[4] for segment in segments] == pytest.approx([20, 20, 86, 86, 153, 153], abs=4)


def test_a_tail_of_a_blink_is_left_out() -> None:
    assert [segment.end for segment in spans(make_film(pictures=make_brightening(11)))] == [1000]
    assert [segment.end for segment in spans(make_film(pictures=make_brightening(13)))] == [1000, 1300]


def test_the_middle_square_is_taken_in_true_colours() -> None:
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, 32:96] = make_quarters(64, 64)
    (only,) = spans(make_film(pictures=[wide] * 5))
    assert only.frames is not None
    frame = only.frames[0].astype(int)
    for (y, x), colour in {
        (6, 6): (220, 30, 30),
        (6, 26): (30, 200, 30),
        (26, 6): (30, 30, 220),
        (26, 26): (230, 220, 20),
    }.items():
        assert frame[y, x] == pytest.approx(colour, abs=16)


def test_a_film_taken_sideways_is_turned_upright() -> None:
    film = make_film(pictures=[make_quarters(96, 64)] * 5)
    (flat,), (turned,) = spans(film), spans(turn_film(film))
    assert flat.frames is not None
    assert turned.frames is not None
    assert np.array_equal(turned.frames[0], np.rot90(flat.frames[0], -1))  # a quarter clockwise


def test_sound_comes_from_the_middle_of_its_span() -> None:
    rest = np.zeros(12_000, np.float32)
    tones = [np.concatenate([rest, make_tone(0.5, 48_000, hertz), rest]) for hertz in (300, 600, 1200)]
    film = make_film("mov", "mpeg4", sound=np.concatenate(tones), sound_codec="pcm_s16le")
    for segment, hertz in zip(spans(film), (300, 600, 1200), strict=True):
        assert segment.samples is not None
        loudest = int(np.argmax(np.abs(np.fft.rfft(segment.samples)))) * 2
        assert loudest == pytest.approx(hertz, abs=4)
        assert np.abs(segment.samples[100:400]).max() > 0.4  # from its first
        assert np.abs(segment.samples[-400:-100]).max() > 0.4  # to its last sample


def test_sound_shorter_than_the_clip_ends_in_silence() -> None:
    long_clip = ModelInput(("video",), sample_rate_hz=RATE_HZ, frames=2, frame_size=32, clip_samples=2 * RATE_HZ)
    (first, *_) = spans(make_film(sound=make_tone(3, 48_000)), model_input=long_clip)
    assert first.samples is not None
    assert np.abs(first.samples[: RATE_HZ - 200]).max() > 0.4
    assert np.abs(first.samples[RATE_HZ + 200 :]).max() == 0


def test_a_silent_film_gives_silence_and_a_deaf_model_gets_no_sound() -> None:
    assert all(segment.samples is not None and not segment.samples.any() for segment in spans(make_film()))
    deaf = ModelInput(("video",), frames=2, frame_size=16)
    assert all(segment.samples is None for segment in spans(make_film(), model_input=deaf))


# ---- hostile


def test_an_mp4_without_streams_and_one_with_sound_only_have_no_video_stream() -> None:
    assert refusal(opened(make_mp4_without_streams(), "video/mp4", VIDEO)) == "NoVideoStream"
    song = make_sound("ipod", "aac", make_tone(1, 44_100), 44_100)
    assert refusal(opened(song, "video/mp4", VIDEO)) == "NoVideoStream"


@pytest.mark.parametrize("container_format", ["mp4", "mov", "matroska", "avi"])
def test_pain_21_half_a_film_is_refused_and_not_indexed_as_a_whole_one(container_format: str) -> None:
    data = make_film(container_format, "mpeg4")
    assert refusal(opened(data[: len(data) // 2], "video/mp4", VIDEO)) == "TruncatedVideo"


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_pain_21_a_cut_avi_is_refused_although_its_sound_ends_with_its_pictures(share: float) -> None:
    data = make_film("avi", "mpeg4", sound=make_tone(3, 48_000), sound_codec="libmp3lame")
    assert refusal(opened(data[: round(len(data) * share)], "video/x-msvideo", VIDEO)) == "TruncatedVideo"
    piped = data[:4] + b"\xff\xff\xff\xff" + data[8:]  # written to a pipe: nobody knew the length
    assert len(spans(piped)) == 3


@pytest.mark.parametrize("missing_bytes", [10, 40_000])
def test_pain_21_a_cut_film_with_its_index_in_front_is_refused_too(tmp_path: Path, missing_bytes: int) -> None:
    noise = list(np.random.default_rng(1).integers(0, 255, (30, 64, 96, 3), dtype=np.uint8))
    data = make_film(pictures=noise, path=tmp_path / "film.mp4", options={"movflags": "faststart"})
    assert data.index(b"moov") < data.index(b"mdat")
    assert len(spans(data)) == 3
    assert refusal(opened(data[: len(data) - missing_bytes], "video/mp4", VIDEO)) == "TruncatedVideo"


def test_noise_is_no_film() -> None:
    assert refusal(opened(make_noise(5_000), "video/mp4", VIDEO)) == "CorruptVideo"


def test_pain_21_films_beyond_the_limits_are_refused() -> None:
    film = make_film()
    endless = make_film("matroska", "mpeg4", options={"live": "1"})  # its header gives no length
    assert len(spans(endless)) == 3
    for each in (film, endless):
        assert refusal(opened(each, "video/mp4", VIDEO, limits=Limits(max_duration_s=2))) == "TooLong"
    assert refusal(opened(film, "video/mp4", VIDEO, limits=Limits(max_pixels=96 * 64 - 1))) == "TooManyPixels"
