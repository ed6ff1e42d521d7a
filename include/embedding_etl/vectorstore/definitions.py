"""Our schema and index in the client library's words, without importing it."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from include.embedding_etl.types import CollectionSpec
from include.embedding_etl.vectorstore.schema import FIELDS, ID_FIELD, VECTOR_FIELD, FieldKind, index_params

_TYPE_NAMES: Mapping[FieldKind, str] = {
    "varchar": "VARCHAR",
    "int64": "INT64",
    "json": "JSON",
    "vector": "FLOAT_VECTOR",
}


class Schema(Protocol):
    """What a schema of the client library can do."""

    def add_field(self, field_name: str, datatype: Any, **options: Any) -> object:
        """Add one field."""


class IndexParams(Protocol):
    """What the client library's list of indexes can do."""

    def add_index(self, field_name: str, **options: Any) -> object:
        """Add one index."""


def add_fields(schema: Schema, dimension: int, data_type: Callable[[str], Any]) -> None:
    """Add the fields of every collection to an empty schema.

    Args:
        data_type: From the library's name of a type to its value.
    """
    for field in FIELDS:
        options: dict[str, int | bool] = {"is_primary": field.name == ID_FIELD}
        if field.kind == "varchar":
            options["max_length"] = field.max_bytes
        if field.kind == "vector":
            options["dim"] = dimension
        schema.add_field(field.name, data_type(_TYPE_NAMES[field.kind]), **options)


def add_index(indexes: IndexParams, spec: CollectionSpec) -> None:
    """Add the vector index to an empty list.

    Its parameters are sent as one value named "params", which every server reads. The library would send each by
    itself, and Milvus Lite would build the index with its own defaults without a word.
    """
    wire = {"params": dict(index_params(spec.index_type, spec.index_params))}
    indexes.add_index(VECTOR_FIELD, index_type=spec.index_type, metric_type=spec.metric, params=wire)
