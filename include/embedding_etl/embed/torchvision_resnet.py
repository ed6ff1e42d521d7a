"""Pictures, by torchvision's ResNet-50 with its last layer removed. torchvision is optional."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from include.embedding_etl.embed.device import choose_device, number_format, unit_vectors
from include.embedding_etl.embed.pictures import pixels_of, prepare_imagenet
from include.embedding_etl.embed.pretrained import loading
from include.embedding_etl.embed.reduced_precision import fuse_batch_norms
from include.embedding_etl.errors import ConfigError
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.types import Chunk, ModelInfo, Vectors


def load(settings: ModelSettings, info: ModelInfo, device: str | None) -> "TorchvisionEmbedder":  # noqa: ARG001 - Loader
    """Build the network and load its weights, strictly.

    Raises:
        ConfigError: torchvision does not import, or the weights are not those of a ResNet-50.
    """
    import torch

    try:
        from torchvision.models import resnet50
    except (ImportError, RuntimeError, OSError) as error:  # a torchvision of another build of torch fails in each way
        raise ConfigError(
            f"model.kind: torchvision-resnet50 needs a torchvision built for torch {torch.__version__} ({error}); "
            "install it, or use kind resnet with microsoft/resnet-50"
        ) from error
    network = resnet50(weights=None)
    with loading(info):
        network.load_state_dict(_read_weights(Path(info.weights_path)), strict=True)
    network.fc = torch.nn.Identity()
    network = fuse_batch_norms(network.eval())
    network = network.to(choose_device(device), number_format(info), memory_format=torch.channels_last)
    return TorchvisionEmbedder(network, info)


class TorchvisionEmbedder:
    """The loaded network."""

    def __init__(self, network: Any, info: ModelInfo) -> None:
        self.dimension = info.dimension
        self._network = network
        self._info = info

    def embed(self, chunks: Sequence[Chunk]) -> Vectors:
        """Embed pictures in input order.

        Source:
            He et al. 2015; torchvision's preprocessing for IMAGENET1K_V1 with bicubic resizing.
        """
        import torch

        weight = self._network.conv1.weight
        pictures = prepare_imagenet(pixels_of(chunks)).to(weight.device, weight.dtype)
        with torch.inference_mode():
            return unit_vectors(self._network(pictures), self._info)


def _read_weights(path: Path) -> Any:
    import torch
    from safetensors.torch import load_file

    if path.suffix == ".pth":
        return torch.load(path, weights_only=True, map_location="cpu")
    return load_file(path / "model.safetensors" if path.is_dir() else path)
