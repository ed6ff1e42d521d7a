from dataclasses import replace

import numpy as np

from include.embedding_etl.types import Chunk
from tests.fixtures_models import SmallModels, lowest_cosine, unit

rng = np.random.default_rng(5)
CHUNKS = [
    Chunk(
        number,
        0,
        0,
        frames=rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8),
        samples=rng.uniform(-1, 1, 128).astype(np.float32),
    )
    for number in range(3)
]


def test_vectors_are_the_mean_of_the_encoders_latents(small_models: SmallModels) -> None:
    import torch
    from transformers import PerceiverForMultimodalAutoencoding

    model = PerceiverForMultimodalAutoencoding.from_pretrained(small_models.path("perceiver")).eval()
    wanted = []
    for chunk in CHUNKS:
        inputs = {
            "image": torch.tensor(chunk.frames.transpose(0, 3, 1, 2)[None] / 255, dtype=torch.float32),
            "audio": torch.tensor(chunk.samples[None, :, None]),
            "label": torch.zeros(1, 8),
        }
        # The whole model with its decoder, of which one point of each modality is asked.
        points = {"image": torch.arange(1), "audio": torch.arange(1), "label": None}
        with torch.no_grad():
            output = model.perceiver(inputs=inputs, subsampled_output_points=points)
            wanted.append(output.last_hidden_state[0].mean(0))
    vectors = small_models.load("perceiver").embed(CHUNKS)
    assert vectors.shape == (3, 32)
    np.testing.assert_allclose(vectors, unit(np.stack(wanted)), atol=5e-6)


def test_a_film_without_sound_is_a_silent_film(small_models: SmallModels) -> None:
    embedder = small_models.load("perceiver")
    silent = replace(CHUNKS[0], samples=np.zeros(128, np.float32))
    mute, short = replace(CHUNKS[0], samples=None), replace(CHUNKS[0], samples=np.zeros(5, np.float32))
    vectors = embedder.embed([silent, mute, short, CHUNKS[0]])
    np.testing.assert_allclose(vectors[1:3], vectors[[0, 0]], atol=1e-6)
    assert vectors[3] @ vectors[0] < 0.99999


def test_bfloat16_gives_almost_the_same_vectors(small_models: SmallModels) -> None:
    exact, fast = (small_models.load("perceiver", precision).embed(CHUNKS) for precision in ("fp32", "bf16"))
    assert lowest_cosine(exact, fast) > 0.999


def test_the_model_says_what_it_wants_to_see_and_hear(small_models: SmallModels) -> None:
    wanted = small_models.info("perceiver").input
    assert (wanted.frames, wanted.frame_size, wanted.clip_samples, wanted.sample_rate_hz) == (4, 16, 128, 48_000)
