"""Texts, by a transformer of the sentence-transformers family.

Tokenised in Rust, padded to the longest text of the batch, one forward pass, pooled, normalised: what
SentenceTransformer.encode does, without its truncation, and in bfloat16 where that is faster.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from include.embedding_etl.embed.device import choose_device, unit_vectors
from include.embedding_etl.embed.pretrained import load_pretrained
from include.embedding_etl.embed.reduced_precision import arithmetic
from include.embedding_etl.embed.tokens import TextReader
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.types import Chunk, ModelInfo, Vectors

if TYPE_CHECKING:
    import torch


def load(settings: ModelSettings, info: ModelInfo, device: str | None) -> "TextEmbedder":  # noqa: ARG001 - Loader
    """Load transformer and tokenizer."""
    from transformers import AutoModel

    model = load_pretrained(AutoModel, info, not_needed="pooler.")
    return TextEmbedder(model.to(choose_device(device)), info)


class TextEmbedder:
    """A loaded sentence transformer."""

    def __init__(self, model: Any, info: ModelInfo) -> None:
        self.dimension = info.dimension
        self._model = model
        self._info = info
        self._reader = TextReader(info, int(model.config.pad_token_id or 0))

    def embed(self, chunks: Sequence[Chunk]) -> Vectors:
        """Embed texts in input order. Texts of about the same length belong in one batch: the longest sets its cost.

        Raises:
            PoisonObject: a text is longer than the model reads.
        Source:
            Reimers & Gurevych 2019: mean over the unmasked tokens, or the first token, as the model's files say.
        """
        import torch

        ids, mask = self._reader.read([chunk.text for chunk in chunks])
        device = self._model.device
        with torch.inference_mode(), arithmetic(self._info, device):
            on_device = torch.from_numpy(mask).to(device)
            states = self._model(input_ids=torch.from_numpy(ids).to(device), attention_mask=on_device).last_hidden_state
            return unit_vectors(self._pool(states, on_device), self._info)

    def _pool(self, states: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
        if self._info.pooling == "cls":
            return states[:, 0]
        weights = mask.unsqueeze(-1).float()
        return (states.float() * weights).sum(1) / weights.sum(1)
