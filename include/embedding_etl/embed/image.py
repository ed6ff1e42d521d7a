"""Pictures, by a convolutional network of transformers: ResNet."""

from collections.abc import Sequence
from typing import Any

from include.embedding_etl.embed.device import choose_device, number_format, unit_vectors
from include.embedding_etl.embed.pictures import Prepare, load_image_processor, pixels_of
from include.embedding_etl.embed.pretrained import load_pretrained
from include.embedding_etl.embed.reduced_precision import fuse_batch_norms
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.types import Chunk, ModelInfo, Vectors


def load(settings: ModelSettings, info: ModelInfo, device: str | None) -> "ImageEmbedder":  # noqa: ARG001 - Loader
    """Load network and preprocessing."""
    import torch
    from transformers import ResNetModel

    model = fuse_batch_norms(load_pretrained(ResNetModel, info))
    model = model.to(choose_device(device), number_format(info), memory_format=torch.channels_last)
    return ImageEmbedder(model, load_image_processor(info), info)


class ImageEmbedder:
    """A loaded network without its classifier."""

    def __init__(self, model: Any, prepare: Prepare, info: ModelInfo) -> None:
        self.dimension = info.dimension
        self._model = model
        self._prepare = prepare
        self._info = info

    def embed(self, chunks: Sequence[Chunk]) -> Vectors:
        """Embed pictures in input order.

        Source:
            He et al. 2015; the model card's preprocessing; the average over the last feature map.
        """
        import torch

        pictures = self._prepare(pixels_of(chunks))
        with torch.inference_mode():
            pictures = pictures.to(self._model.device, self._model.dtype, memory_format=torch.channels_last)
            return unit_vectors(self._model(pictures).pooler_output.flatten(1), self._info)
