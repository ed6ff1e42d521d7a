import numpy as np
import pytest

from include.embedding_etl.embed.load import load_embedder
from include.embedding_etl.embed.models import resolve_model
from include.embedding_etl.embed.pictures import prepare_imagenet
from include.embedding_etl.errors import ConfigError
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.types import Chunk
from tests.fixtures_models import SmallModels, lowest_cosine, pictures, unit

CHUNKS = [Chunk(number, 0, 0, pixels=pixels) for number, pixels in enumerate(pictures(3))]


def test_resnet_vectors_are_its_pooled_features(small_models: SmallModels) -> None:
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, ResNetForImageClassification

    path = small_models.path("resnet")
    model = ResNetForImageClassification.from_pretrained(path).resnet.eval()
    processor = AutoImageProcessor.from_pretrained(path, backend="pil")
    with torch.no_grad():
        wanted = [
            model(**processor(Image.fromarray(chunk.pixels), return_tensors="pt")).pooler_output.flatten()
            for chunk in CHUNKS
        ]
    vectors = small_models.load("resnet").embed(CHUNKS)
    assert vectors.shape == (3, 24)
    np.testing.assert_allclose(vectors, unit(wanted), atol=2e-5)


def test_resnet_in_bfloat16_gives_almost_the_same_vectors(small_models: SmallModels) -> None:
    exact, fast = (small_models.load("resnet", precision).embed(CHUNKS) for precision in ("fp32", "bf16"))
    assert lowest_cosine(exact, fast) > 0.999


def test_weights_that_lack_a_layer_are_refused(small_models: SmallModels, tmp_path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    path = tmp_path / "broken"
    shutil.copytree(small_models.path("resnet"), path)
    weights = load_file(path / "model.safetensors")
    del weights["resnet.embedder.embedder.convolution.weight"]
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    settings = small_models.settings("resnet").model_copy(update={"id": str(path)})
    with pytest.raises(ConfigError, match=r"no fitting weights for embedder\.embedder\.convolution\.weight"):
        load_embedder(settings, resolve_model(settings, tmp_path), "cpu")


@pytest.mark.parametrize(("height", "width"), [(300, 200), (40, 600), (1, 900), (224, 224), (3000, 230)])
def test_any_shape_is_cropped_to_its_centre(height: int, width: int) -> None:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[height // 2 :, :, 0] = 255
    prepared = prepare_imagenet([pixels], (0, 0, 0), (1, 1, 1)).numpy()
    assert prepared.shape == (1, 3, 224, 224)
    if height > 1:  # upper half black, lower half red
        assert prepared[0, 0, :100].max() < 0.05
        assert prepared[0, 0, 124:].min() > 0.95
    assert prepared[0, 1:].max() == 0


def test_without_torchvision_its_kind_says_what_to_do(small_models: SmallModels, tmp_path) -> None:
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError, OSError):
        pass
    else:
        pytest.skip("torchvision imports here")
    file = tmp_path / "resnet50.pth"
    file.write_bytes(b"")
    settings = ModelSettings(kind="torchvision-resnet50", id=str(file), weights="path")
    with pytest.raises(ConfigError, match="use kind resnet"):
        load_embedder(settings, resolve_model(settings, tmp_path), "cpu")


def test_torchvision_vectors_are_the_features_before_its_last_layer(tmp_path) -> None:
    torchvision = pytest.importorskip("torchvision", exc_type=ImportError)
    import torch

    torch.manual_seed(3)
    model = torchvision.models.resnet50(weights=None).eval()
    file = tmp_path / "resnet50.pth"
    torch.save(model.state_dict(), file)
    settings = ModelSettings(kind="torchvision-resnet50", id=str(file), weights="path", precision="fp32")
    vectors = load_embedder(settings, resolve_model(settings, tmp_path), "cpu").embed(CHUNKS)
    model.fc = torch.nn.Identity()
    with torch.no_grad():
        wanted = model(prepare_imagenet([chunk.pixels for chunk in CHUNKS]))
    np.testing.assert_allclose(vectors, unit(wanted), atol=2e-5)
