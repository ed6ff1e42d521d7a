"""An object opened for extraction: its bytes, and everything that decides how they are read."""

from dataclasses import dataclass
from typing import BinaryIO

from include.embedding_etl.errors import PoisonObject
from include.embedding_etl.types import ChunkSettings, Limits, ModelInput


@dataclass(frozen=True, slots=True)
class OpenObject:
    """What every extractor gets."""

    key: str  # for messages only
    body: BinaryIO  # seekable, at position 0
    media_type: str
    model_input: ModelInput
    chunk: ChunkSettings
    limits: Limits

    def poison(self, error_class: str, message: str) -> PoisonObject:
        """The error to raise when this object cannot be read."""
        return PoisonObject(self.key, "extract", error_class, message)
