"""Sound of any container and rate becomes windows of mono samples that cover all of it."""

import io
from pathlib import Path

import numpy as np
import pytest

from include.embedding_etl.types import ChunkSettings, Limits, ModelInput, Segment, Vectors
from tests.fixtures_media import (
    RATE_HZ,
    extract_all,
    make_chained_ogg,
    make_film,
    make_noise,
    make_sound,
    make_tone,
    make_wav,
    opened,
    refusal,
)

AUDIO = ModelInput(("audio",), sample_rate_hz=RATE_HZ, window_ms=1_000)


def windows(data: bytes, hop_ms: int = 0) -> list[Segment]:
    return extract_all(opened(data, "audio/wav", AUDIO, ChunkSettings(hop_ms=hop_ms)))


def joined(segments: list[Segment]) -> Vectors:
    return np.concatenate([segment.samples for segment in segments if segment.samples is not None])


def loudest_hz(samples: Vectors) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))))) * RATE_HZ / len(samples)


@pytest.mark.parametrize(
    ("container_format", "codec", "rate_hz"),
    [
        ("wav", "pcm_s16le", 44_100),
        ("wav", "pcm_s24le", 8_000),
        ("wav", "pcm_f32le", 96_000),
        ("mp3", "libmp3lame", 44_100),
        ("flac", "flac", 44_100),
        ("ogg", "vorbis", 44_100),
        ("ogg", "libopus", 48_000),
        ("ipod", "aac", 44_100),
        ("adts", "aac", 44_100),
        ("webm", "libopus", 48_000),
        ("aiff", "pcm_s16be", 22_050),
    ],
)
def test_every_container_and_rate_becomes_the_same_mono_sound(container_format: str, codec: str, rate_hz: int) -> None:
    segments = windows(make_sound(container_format, codec, make_tone(1.5, rate_hz), rate_hz))
    sound = joined(segments)
    assert sound.dtype == np.float32
    assert len(sound) == pytest.approx(1.5 * RATE_HZ, abs=0.06 * RATE_HZ)  # AAC pads at both ends
    assert loudest_hz(sound) == pytest.approx(440, abs=2)
    assert np.abs(sound).max() == pytest.approx(0.5, abs=0.1)


def test_windows_stand_edge_to_edge_and_cover_every_sample() -> None:
    tone = make_tone(3.4)
    segments = windows(make_wav(tone))
    assert [(segment.start, segment.end) for segment in segments] == [
        (0, 1000),
        (1000, 2000),
        (2000, 3000),
        (3000, 3400),
    ]
    assert np.abs(joined(segments) - tone).max() < 1e-3


def test_windows_overlap_by_the_hop_and_end_with_the_sound() -> None:
    tone = make_tone(2.2)
    segments = windows(make_wav(tone), hop_ms=500)
    assert [segment.start for segment in segments] == [0, 500, 1000, 1500]
    assert segments[-1].end == 2200
    for segment in segments:
        expected = tone[segment.start * RATE_HZ // 1000 : segment.end * RATE_HZ // 1000]
        assert segment.samples is not None
        assert np.abs(segment.samples - expected).max() < 1e-3


def test_a_hop_beyond_the_window_skips_no_sound() -> None:
    assert [segment.start for segment in windows(make_wav(make_tone(2)), hop_ms=5_000)] == [0, 1000]


def test_a_tail_of_a_few_milliseconds_is_left_out_but_a_sound_of_a_few_is_not() -> None:
    assert [segment.end for segment in windows(make_wav(make_tone(1.05)))] == [1000]
    assert [segment.end for segment in windows(make_wav(make_tone(1.15)))] == [1000, 1150]
    assert [segment.end for segment in windows(make_wav(make_tone(0.05)))] == [50]


def test_the_resampler_gives_its_last_samples() -> None:
    assert len(joined(windows(make_wav(make_tone(0.9, 44_100), 44_100)))) == round(0.9 * RATE_HZ)


@pytest.mark.parametrize("channels", [2, 6, 9, 16])
def test_channels_are_averaged_however_many(channels: int) -> None:
    first_only = np.zeros((RATE_HZ, channels), np.float32)
    first_only[:, 0] = make_tone(1)
    sound = joined(windows(make_wav(first_only)))
    assert loudest_hz(sound) == pytest.approx(440, abs=2)
    assert np.abs(sound).max() == pytest.approx(0.5 / channels, rel=0.02)


def test_a_recording_that_changes_its_rate_goes_on() -> None:
    sound = joined(windows(make_chained_ogg()))
    assert len(sound) == pytest.approx(2 * RATE_HZ, abs=100)
    assert loudest_hz(sound[: RATE_HZ - 500]) == pytest.approx(440, abs=2)
    assert loudest_hz(sound[RATE_HZ + 500 :]) == pytest.approx(440, abs=2)


# ---- hostile


def test_a_recording_of_mostly_broken_packets_is_refused() -> None:
    data = bytearray(make_sound("ipod", "aac", make_tone(5, 44_100), 44_100))
    start, end = data.index(b"mdat") + 4, data.index(b"moov")
    middle = (start + end) // 2
    data[start:middle] = make_noise(middle - start)
    assert refusal(opened(bytes(data), "audio/mp4", AUDIO)) == "CorruptAudio"


def test_a_header_without_sound_is_refused_by_name() -> None:
    header_only = make_wav(make_tone(0))
    assert refusal(opened(header_only, "audio/wav", AUDIO)) == "EmptyAudio"


def test_a_film_without_sound_has_no_audio_stream() -> None:
    assert refusal(opened(make_film(), "audio/mp4", AUDIO)) == "NoAudioStream"


@pytest.mark.parametrize(
    ("container_format", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("ipod", "aac"), ("webm", "libopus")]
)
def test_pain_21_half_a_recording_is_refused_and_not_indexed_as_a_whole_one(container_format: str, codec: str) -> None:
    data = make_sound(container_format, codec, make_tone(3, 48_000))
    assert refusal(opened(data[: len(data) // 2], "audio/x", AUDIO)) == "TruncatedAudio"


def test_noise_is_no_sound() -> None:
    assert refusal(opened(make_noise(5_000), "audio/mpeg", AUDIO)) == "CorruptAudio"


def test_a_stretch_of_zeroed_bytes_in_the_middle_is_skipped() -> None:
    data = bytearray(make_sound("mp3", "libmp3lame", make_tone(5, 44_100), 44_100))
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    assert len(joined(windows(bytes(data)))) == pytest.approx(5 * RATE_HZ, abs=0.3 * RATE_HZ)


def _say_length(flac: bytes, samples: int) -> bytes:
    """Write the number of samples into the STREAMINFO block; 0 is "not known"."""
    start = flac.index(b"fLaC") + 8 + 13
    return flac[:start] + bytes([flac[start] & 0xF0]) + samples.to_bytes(4, "big") + flac[start + 5 :]


def test_pain_21_a_recording_that_says_it_is_beyond_the_limit_is_refused_before_it_is_decoded() -> None:
    flac = make_sound("flac", "flac", make_tone(1), RATE_HZ, "mono")
    two_days = _say_length(flac, 2 * 86_400 * RATE_HZ)
    assert refusal(opened(two_days, "audio/flac", AUDIO)) == "TooLong"


def test_pain_21_a_recording_that_does_not_say_its_length_is_refused_when_the_limit_is_reached() -> None:
    flac = _say_length(make_sound("flac", "flac", make_tone(3), RATE_HZ, "mono"), 0)
    assert len(windows(flac)) == 3
    assert refusal(opened(flac, "audio/flac", AUDIO, limits=Limits(max_duration_s=2))) == "TooLong"


@pytest.mark.parametrize(
    "playlist",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile secret.wav\n",
    ],
    ids=["m3u", "concat"],
)
def test_playlists_open_no_other_file(playlist: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.wav").write_bytes(make_wav(make_tone(1)))
    monkeypatch.chdir(tmp_path)
    assert refusal(opened(playlist, "audio/x", AUDIO)) == "CorruptAudio"


def test_two_readers_of_one_body_do_not_disturb_each_other() -> None:
    from include.embedding_etl.extract.body_view import BodyView

    body = io.BytesIO(bytes(range(100)))
    first, second = BodyView(body), BodyView(body)
    assert first.read(3) == b"\0\1\2"
    assert second.seek(-2, io.SEEK_END) == 98
    assert first.read(2) == b"\3\4"
    assert second.read(5) == b"\x62\x63"
    assert (first.seek(1, io.SEEK_CUR), first.tell(), second.tell()) == (6, 6, 100)
