"""The two Parquet files of a shard: what is to do (from route) and what was embedded (from embed, for sync).

Vectors are not in them: the embedded file says in which file of the embedding store they are.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from include.embedding_etl.ledger.records import Lease
from include.embedding_etl.state import StateStore
from include.embedding_etl.types import ObjectRecord

_RECORD = [
    ("key", pa.string()),
    ("etag", pa.string()),
    ("size_bytes", pa.int64()),
    ("last_modified_ms", pa.int64()),
    ("media_type", pa.string()),
    ("content_hash", pa.string()),
    ("skip_reason", pa.string()),
    ("vanished", pa.bool_()),
    ("meta", pa.string()),
]
WORK = pa.schema(_RECORD)
EMBEDDED = pa.schema([*_RECORD, ("store_path", pa.string()), ("rows", pa.int64())])


@dataclass(frozen=True, slots=True)
class EmbeddedObject:
    """An object whose vectors are in the embedding store."""

    record: ObjectRecord  # with its content hash
    store_path: str
    rows: int


def work_batch(records: Sequence[ObjectRecord]) -> pa.RecordBatch:
    """Records as rows of a file with the schema WORK."""
    return pa.RecordBatch.from_pylist([_flat(record) for record in records], WORK)


def read_work(state: StateStore, path: str) -> Iterator[ObjectRecord]:
    """Read it back, in the order it was written."""
    for batch in state.iter_batches(path):
        for row in batch.to_pylist():
            yield _record(row)


def embedded_batch(objects: Sequence[EmbeddedObject]) -> pa.RecordBatch:
    """Embedded objects as rows of a file with the schema EMBEDDED."""
    return pa.RecordBatch.from_pylist(
        [{**_flat(item.record), "store_path": item.store_path, "rows": item.rows} for item in objects], EMBEDDED
    )


def read_embedded(state: StateStore, path: str) -> Iterator[EmbeddedObject]:
    """Read it back, in the order it was written."""
    for batch in state.iter_batches(path):
        for row in batch.to_pylist():
            yield EmbeddedObject(_record(row), row["store_path"], row["rows"])


def lease_metadata(lease: Lease) -> dict[str, str]:
    """The lease as metadata of a shard's files: whoever works on the shard is fenced by the token route got."""
    return {
        "collection": lease.collection,
        "lease_owner": lease.owner,
        "lease_token": str(lease.token),
        "lease_ttl_s": str(lease.ttl_s),
    }


def read_lease(state: StateStore, path: str) -> Lease:
    """The lease that the shard was cut under."""
    metadata = state.metadata(path)
    token, ttl_s = int(metadata["lease_token"]), float(metadata["lease_ttl_s"])
    return Lease(metadata["collection"], metadata["lease_owner"], token, 0, ttl_s)


def _flat(record: ObjectRecord) -> dict[str, object]:
    flat: dict[str, object] = {name: getattr(record, name) for name, _ in _RECORD}
    return {**flat, "meta": json.dumps(dict(record.meta), ensure_ascii=False)}


def _record(row: Mapping[str, object]) -> ObjectRecord:
    fields = {name: row[name] for name, _ in _RECORD}
    return ObjectRecord(**{**fields, "meta": json.loads(str(row["meta"]))})
