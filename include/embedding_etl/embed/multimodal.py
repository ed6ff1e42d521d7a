"""Pictures and texts in one space, by CLIP: a sentence finds a picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from include.embedding_etl.embed.device import choose_device, unit_vectors
from include.embedding_etl.embed.pictures import Prepare, load_image_processor, pixels_of
from include.embedding_etl.embed.pretrained import load_pretrained
from include.embedding_etl.embed.reduced_precision import arithmetic
from include.embedding_etl.embed.tokens import TextReader
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.types import Chunk, ModelInfo, Vectors


def load(settings: ModelSettings, info: ModelInfo, device: str | None) -> "MultimodalEmbedder":  # noqa: ARG001 - Loader
    """Load both towers, the tokenizer and the preprocessing of pictures."""
    from transformers import CLIPModel

    model = load_pretrained(CLIPModel, info).to(choose_device(device))
    return MultimodalEmbedder(model, load_image_processor(info), info)


class MultimodalEmbedder:
    """A loaded CLIP."""

    def __init__(self, model: Any, prepare: Prepare, info: ModelInfo) -> None:
        self.dimension = info.dimension
        self._model = model
        self._prepare = prepare
        self._info = info
        self._reader = TextReader(info, _pad_id(model.config.text_config))

    def embed(self, chunks: Sequence[Chunk]) -> Vectors:
        """Embed pictures and texts, in input order.

        Raises:
            PoisonObject: a text is longer than the model reads.
        Source:
            Radford et al. 2021: the projections of the two towers.
        """
        pictures = [index for index, chunk in enumerate(chunks) if chunk.pixels is not None]
        texts = [index for index, chunk in enumerate(chunks) if chunk.pixels is None]
        vectors = np.empty((len(chunks), self.dimension), np.float32)
        if pictures:
            vectors[pictures] = self._embed_pictures([chunks[index] for index in pictures])
        if texts:
            vectors[texts] = self._embed_texts([chunks[index].text for index in texts])
        return vectors

    def _embed_pictures(self, chunks: Sequence[Chunk]) -> Vectors:
        import torch

        pixels = self._prepare(pixels_of(chunks)).to(self._model.device, self._model.dtype)
        with torch.inference_mode(), arithmetic(self._info, self._model.device):
            return unit_vectors(self._model.get_image_features(pixel_values=pixels).pooler_output, self._info)

    def _embed_texts(self, texts: list[str]) -> Vectors:
        import torch

        ids, mask = self._reader.read(texts)
        device = self._model.device
        with torch.inference_mode(), arithmetic(self._info, self._model.device):
            features = self._model.get_text_features(
                input_ids=torch.from_numpy(ids).to(device), attention_mask=torch.from_numpy(mask).to(device)
            )
            return unit_vectors(features.pooler_output, self._info)


def _pad_id(config: Any) -> int:
    return int(config.pad_token_id if config.pad_token_id is not None else config.eos_token_id)
