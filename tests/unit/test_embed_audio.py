import numpy as np
import pytest

from include.embedding_etl.types import Chunk
from tests.fixtures_models import SmallModels, lowest_cosine, unit

RATE_HZ = 16_000


def tone(frequency_hz: float, length_ms: int) -> np.ndarray:
    time_s = np.arange(RATE_HZ * length_ms // 1000) / RATE_HZ
    return (0.3 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


CHUNKS = [Chunk(number, 0, 0, samples=tone(*what)) for number, what in enumerate([(220, 1000), (880, 330), (440, 45)])]


@pytest.mark.parametrize(("index", "frames"), [(0, 50), (1, 17), (2, 3)])
def test_the_mean_is_over_the_frames_that_heard_something(small_models: SmallModels, index: int, frames: int) -> None:
    import torch
    from transformers import WhisperFeatureExtractor, WhisperModel

    encoder = WhisperModel.from_pretrained(small_models.path("whisper")).encoder.eval()
    extract = WhisperFeatureExtractor(feature_size=80, chunk_length=1)
    features = extract(CHUNKS[index].samples, sampling_rate=RATE_HZ, return_tensors="pt").input_features
    with torch.no_grad():
        wanted = encoder(features).last_hidden_state[:, :frames].mean(1)
    vectors = small_models.load("whisper").embed(CHUNKS)
    assert vectors.shape == (3, 32)
    np.testing.assert_allclose(vectors[index], unit(wanted)[0], atol=5e-6)


def test_windows_of_different_lengths_equal_themselves_one_by_one(small_models: SmallModels) -> None:
    embedder = small_models.load("whisper")
    one_by_one = np.concatenate([embedder.embed([chunk]) for chunk in CHUNKS])
    np.testing.assert_allclose(embedder.embed(CHUNKS), one_by_one, atol=5e-6)


def test_bfloat16_gives_almost_the_same_vectors(small_models: SmallModels) -> None:
    exact, fast = (small_models.load("whisper", precision).embed(CHUNKS) for precision in ("fp32", "bf16"))
    assert lowest_cosine(exact, fast) > 0.999


def test_the_model_says_what_it_wants_to_hear(small_models: SmallModels) -> None:
    wanted = small_models.info("whisper").input
    assert (wanted.modalities, wanted.sample_rate_hz, wanted.window_ms) == (("audio",), RATE_HZ, 1000)
