"""The rows of every collection as data: fields, their sizes, ids and names. Works on servers older than 2.5 too."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from include.embedding_etl.index_kinds import INDEX_KINDS, Parameters
from include.embedding_etl.types import Row

FieldKind = Literal["varchar", "int64", "json", "vector"]

ID_FIELD = "id"
VECTOR_FIELD = "vector"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a collection."""

    name: str
    kind: FieldKind
    max_bytes: int = 0  # of UTF-8; 0 for numbers and vectors


FIELDS = (
    Field(ID_FIELD, "varchar", 32),
    Field(VECTOR_FIELD, "vector"),
    Field("object_key", "varchar", 1024),
    Field("object_version", "varchar", 256),
    Field("content_hash", "varchar", 64),
    Field("media_type", "varchar", 255),
    Field("ordinal", "int64"),
    Field("start", "int64"),
    Field("end", "int64"),
    Field("text", "varchar", 65_535),
    Field("size_bytes", "int64"),
    Field("last_modified", "int64"),
    Field("run_id", "varchar", 1024),
    Field("meta", "json", 65_536),
)
FIELDS_BY_NAME: Mapping[str, Field] = {field.name: field for field in FIELDS}


METRICS = ("COSINE", "IP", "L2")


def row_id(pipeline: str, lane: str, object_key: str, ordinal: int) -> str:
    """The primary key of one row. It does not contain the version, so an update overwrites.

    JSON keeps the parts apart whatever is in them: ("a", "b_c") and ("a_b", "c") have different ids.
    """
    parts = json.dumps([pipeline, lane, object_key, ordinal], separators=(",", ":"))
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


def physical_name(pipeline: str, lane: str, fingerprint: str, number: int) -> str:
    """The real name of a collection. Readers use the alias instead."""
    return f"{pipeline}_{lane}__{fingerprint[:8]}_{number}"


def entity(row: Row) -> dict[str, Any]:
    """The row as Milvus takes it: one value a field, in the order of the schema."""
    values: dict[str, Any] = {field.name: getattr(row, field.name) for field in FIELDS}
    values["meta"] = dict(row.meta)
    return values


def index_params(index_type: str, params: Parameters) -> dict[str, int | float | str]:
    """The parameters that this type of index takes, with defaults: a server refuses those of another type."""
    defaults = INDEX_KINDS[index_type].default_params
    return {name: params.get(name, default) for name, default in defaults.items()}


def search_params(params: Parameters, top: int) -> dict[str, int | float | str]:
    """The parameters of one search. Milvus servers refuse an `ef` below the number of hits, Milvus Lite raises it."""
    return {name: max(int(value), top) if name == "ef" else value for name, value in params.items()}
