"""What a pipeline file may say of a lane: its model, its chunks, its index and where its tasks run."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from include.embedding_etl.index_kinds import INDEX_KINDS, refusal
from include.embedding_etl.strict_model import Strict
from include.embedding_etl.types import ChunkSettings

QUEUE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"  # becomes part of task ids

ModelKind = Literal[
    "sentence-transformers",
    "openai",
    "resnet",
    "torchvision-resnet50",
    "efficientnet-lite0",
    "clip",
    "whisper",
    "perceiver",
]


class ModelSettings(Strict):
    """Which model, and how it runs. `precision` "auto" is bf16 where the processor has it, else fp32."""

    kind: ModelKind
    id: str
    revision: str = "main"  # hub models: pin a commit
    weights: Literal["hub", "package", "repository", "path", "remote"] = "hub"
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4  # openai: the most batches that are asked for at once
    dimension: Annotated[int, Field(ge=1, le=32_768)] | None = None  # openai: what to ask for
    base_url: str | None = None  # openai: the endpoint
    api_key_env: str | None = None  # openai: name of the variable that holds the key, never the key
    max_tokens: Annotated[int, Field(ge=1)] | None = None  # openai: the endpoint's window
    tokenizer: str | None = None  # openai: a tokenizer.json to count with


class IndexSettings(Strict):
    """The Milvus index of the lane's collections."""

    type: Literal["HNSW", "FLAT", "IVF_FLAT", "IVF_SQ8", "AUTOINDEX"] = "HNSW"
    metric: Literal["COSINE", "IP", "L2"] = "COSINE"
    params: dict[str, int | float | str] = Field({"M": 16, "efConstruction": 200})  # not used by types without them
    search: dict[str, int | float | str] = Field({})  # parameters of a search; readers of the alias choose their own

    @field_validator("params")
    @classmethod
    def _params_of_the_type(cls, params: dict[str, int | float | str], info: ValidationInfo) -> dict[str, Any]:
        kind = INDEX_KINDS.get(info.data.get("type", ""))
        # Where none were written, the ledger has recorded the default with any type.
        if kind is not None and params != cls.model_fields["params"].default:
            _require(info.data["type"], refusal(params, kind.default_params))
        return params

    @field_validator("search")
    @classmethod
    def _search_of_the_type(cls, search: dict[str, int | float | str], info: ValidationInfo) -> dict[str, Any]:
        if kind := INDEX_KINDS.get(info.data.get("type", "")):
            _require(info.data["type"], refusal(search, kind.search_params))
        return search


def _require(index_type: str, reason: str) -> None:
    if reason:
        raise ValueError(f"{index_type}: {reason}")


class LaneSettings(Strict):
    """What accepts some media types, turns them into vectors with one model, and owns one alias."""

    accepts: Annotated[tuple[str, ...], Field(min_length=1)]  # media types or globs: "image/*"
    model: ModelSettings
    chunk: ChunkSettings = ChunkSettings()
    index: IndexSettings = IndexSettings()
    queue: Annotated[str, Field(pattern=QUEUE_NAME)] | None = None  # of tasks with the model; None = Airflow's default
    pool: Annotated[str, Field(pattern=QUEUE_NAME)] | None = None  # of its embed tasks; None = pools.embed

    @property
    def place(self) -> str:
        """What the ids of a reindex's tasks end with, so that each place of a model has tasks of its own."""
        return (f"_{self.queue}" if self.queue else "") + (f"__{self.pool}" if self.pool else "")

    @field_validator("accepts")
    @classmethod
    def _media_types(cls, accepts: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in accepts:
            if not re.match(r"^[a-z*]+/[a-z0-9.+*-]+$", pattern):
                raise ValueError(f"{pattern!r} is not a media type such as text/plain or image/*")
        return accepts
