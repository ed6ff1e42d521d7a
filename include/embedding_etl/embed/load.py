"""Load a resolved model. The module of its kind is imported here and not before: torch takes seconds."""

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol, cast

from include.embedding_etl.embed.base import Embedder
from include.embedding_etl.lane_settings import ModelKind, ModelSettings
from include.embedding_etl.types import ModelInfo

_MODULES: Mapping[ModelKind, str] = {
    "sentence-transformers": "text",
    "openai": "openai",
    "resnet": "image",
    "torchvision-resnet50": "torchvision_resnet",
    "efficientnet-lite0": "efficientnet",
    "clip": "multimodal",
    "whisper": "audio",
    "perceiver": "video",
}


class Loader(Protocol):
    """What every module of `_MODULES` has under the name `load`."""

    def __call__(self, settings: ModelSettings, info: ModelInfo, device: str | None) -> Embedder:
        """Load the weights at `info.weights_path`; never asks the network for them.

        Raises:
            ConfigError: they cannot be loaded.
        """


def load_embedder(settings: ModelSettings, info: ModelInfo, device: str | None = None) -> Embedder:
    """Load a model.

    Args:
        settings: A lane's `model`.
        info: What resolve_model said about it.
        device: "cpu", "cuda", "cuda:1"; None = a GPU when there is one.
    Raises:
        ConfigError: it cannot be loaded; a library is missing, or the weights do not fit the architecture.
    """
    module = import_module(f"include.embedding_etl.embed.{_MODULES[settings.kind]}")
    return cast(Loader, module.load)(settings, info, device)


def calls_at_once(settings: ModelSettings) -> int:
    """From how many threads the loaded model may be called: an endpoint from many, a model in this process from one."""
    return settings.concurrency if settings.kind == "openai" else 1
