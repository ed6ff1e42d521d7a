"""What an embedder must do, whatever its model."""

from collections.abc import Sequence
from typing import Protocol

from include.embedding_etl.types import Chunk, Vectors


class Embedder(Protocol):
    """A loaded model. One per process and lane; not thread-safe."""

    dimension: int

    def embed(self, chunks: Sequence[Chunk]) -> Vectors:
        """Embed one batch, in input order.

        Args:
            chunks: One batch, cut to fit the model. The content is in the field of its modality: text, pixels, samples
                or frames.
        Returns:
            Shape (len(chunks), dimension), float32, unit L2 norm.
        Raises:
            PoisonObject: with an empty key, a chunk cannot be embedded (the caller knows whose it is).
            TransientError: a remote endpoint did not answer.
        """
