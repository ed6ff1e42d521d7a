"""Film, by the multimodal Perceiver: pictures and sound of a span become one vector."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from include.embedding_etl.embed.device import choose_device, unit_vectors
from include.embedding_etl.embed.pretrained import load_pretrained
from include.embedding_etl.embed.reduced_precision import arithmetic
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.types import Chunk, ModelInfo, Vectors


def load(settings: ModelSettings, info: ModelInfo, device: str | None) -> "VideoEmbedder":  # noqa: ARG001 - Loader
    """Load the encoder."""
    from transformers import PerceiverForMultimodalAutoencoding

    model = load_pretrained(PerceiverForMultimodalAutoencoding, info).perceiver
    model.decoder = None  # it would draw the film again: an hour a clip, and no vector depends on it
    model.output_postprocessor = None
    return VideoEmbedder(model.to(choose_device(device)), info)


class VideoEmbedder:
    """A loaded encoder."""

    def __init__(self, model: Any, info: ModelInfo) -> None:
        self.dimension = info.dimension
        self._model = model
        self._info = info

    def embed(self, chunks: Sequence[Chunk]) -> Vectors:
        """Embed spans of film in input order; a film without sound is silent.

        Source:
            Jaegle et al. 2021, Perceiver IO: pixels from 0 to 1, no label; the mean over the latents.
        """
        import torch

        device, dtype = self._model.device, self._model.dtype
        # (n, frames, height, width, 3) -> (n, frames, 3, height, width)
        pictures = torch.from_numpy(np.stack([_frames(chunk) for chunk in chunks])).permute(0, 1, 4, 2, 3)
        sound = torch.from_numpy(np.stack([self._sound(chunk) for chunk in chunks])).unsqueeze(-1)
        inputs = {
            "image": (pictures.float() / 255).to(device, dtype),
            "audio": sound.to(device, dtype),
            "label": torch.zeros(len(chunks), self._model.config.num_labels, device=device, dtype=dtype),
        }
        with torch.inference_mode(), arithmetic(self._info, device):
            latents = self._model(inputs=inputs).last_hidden_state
            return unit_vectors(latents.float().mean(1), self._info)

    def _sound(self, chunk: Chunk) -> Vectors:
        sound = np.zeros(self._info.input.clip_samples, np.float32)
        if chunk.samples is not None:
            given = chunk.samples[: len(sound)]
            sound[: len(given)] = given
        return sound


def _frames(chunk: Chunk) -> np.ndarray[Any, Any]:
    if chunk.frames is None:
        raise TypeError("a chunk without frames came to a model of film")
    return chunk.frames
