"""Rows as the Parquet that Milvus imports: a column a field, JSON as text, vectors as lists of float32."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from include.embedding_etl.types import Row
from include.embedding_etl.vectorstore.schema import FIELDS, FieldKind
from include.embedding_etl.vectorstore.validate import check_rows

_TYPES: Mapping[FieldKind, pa.DataType] = {
    "varchar": pa.string(),
    "int64": pa.int64(),
    "json": pa.string(),
    "vector": pa.list_(pa.float32()),
}
IMPORT = pa.schema([(field.name, _TYPES[field.kind]) for field in FIELDS])


def import_batch(rows: Sequence[Row], dimension: int) -> pa.RecordBatch:
    """Rows of a file with the schema IMPORT, after the same checks as before an upsert.

    Raises:
        IntegrityError: a row is not as the schema says.
    """
    check_rows(rows, dimension)
    return pa.RecordBatch.from_arrays([_column(rows, field.name, field.kind) for field in FIELDS], schema=IMPORT)


def _column(rows: Sequence[Row], name: str, kind: FieldKind) -> pa.Array:
    if kind == "vector":
        vectors = np.stack([row.vector for row in rows])
        ends = np.arange(len(rows) + 1, dtype=np.int32) * vectors.shape[1]
        return pa.ListArray.from_arrays(pa.array(ends), pa.array(vectors.reshape(-1)))
    values = [getattr(row, name) for row in rows]
    if kind == "json":
        values = [json.dumps(dict(value), ensure_ascii=False) for value in values]
    return pa.array(values, _TYPES[kind])
