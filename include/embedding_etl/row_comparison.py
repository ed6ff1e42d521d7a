"""Compare a collection with what the ledger verified, row by row, by primary key. For verifications and audits.

The ledger is in the order of object keys, Milvus in that of ids, which are hashes: so the expected rows are sorted by
SQLite in a temporary file. Memory stays flat with the number of rows.
"""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from include.embedding_etl.batching import batched
from include.embedding_etl.diff import merge
from include.embedding_etl.lane_collection import LaneCollection
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.types import JsonValue
from include.embedding_etl.vectorstore.schema import row_id

Kind: TypeAlias = Literal["missing row", "orphan row", "stale version", "other content", "duplicate row"]
StoredRow: TypeAlias = dict[str, JsonValue]
COMPARED = ("object_key", "object_version", "content_hash", "ordinal")
_BATCH = 10_000


@dataclass(frozen=True, slots=True)
class RowDifference:
    """One row that is not as the ledger says."""

    kind: Kind
    id: str
    object_key: str
    ordinal: int


@dataclass(frozen=True, slots=True)
class _Expected:
    id: str
    object_key: str
    ordinal: int
    version: str  # "" = a write was begun: the row may be there or not, at any version
    content_hash: str


def compare_rows(
    runtime: Runtime,
    collection: LaneCollection,
    see_page: Callable[[Sequence[StoredRow]], None] = lambda _: None,
    fields: Sequence[str] = (),
) -> Iterator[RowDifference]:
    """All differences, in the order of the ids. Nobody may write to the collection meanwhile.

    Args:
        see_page: Called with every page of stored rows, for whoever wants to look at more than the identity.
        fields: What else those rows have, beside COMPARED.
    Raises:
        TransientError: Milvus did not answer.
    """
    with (
        tempfile.TemporaryDirectory(prefix="embedding-etl-") as directory,
        closing(sqlite3.connect(Path(directory) / "expected.db", isolation_level=None)) as database,
    ):
        _write_expected(runtime, collection, database)
        for expected, stored in merge(
            _expected(database),
            _stored(runtime, collection, see_page, fields),
            lambda row: row.id,
            lambda rows: str(rows[0]["id"]),
        ):
            yield from _differences(expected, stored or [])


def _differences(expected: _Expected | None, stored: Sequence[StoredRow]) -> Iterator[RowDifference]:
    if expected is None:
        row = stored[0]
        yield RowDifference("orphan row", str(row["id"]), str(row["object_key"]), _ordinal(row))
        return
    kind: Kind | None = None
    if len(stored) > 1:
        kind = "duplicate row"
    elif expected.version == "":
        return
    elif not stored:
        kind = "missing row"
    elif stored[0]["object_version"] != expected.version:
        kind = "stale version"
    elif any(stored[0][name] != getattr(expected, name) for name in ("content_hash", "object_key", "ordinal")):
        kind = "other content"
    if kind is not None:
        yield RowDifference(kind, expected.id, expected.object_key, expected.ordinal)


def _write_expected(runtime: Runtime, collection: LaneCollection, database: sqlite3.Connection) -> None:
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    database.execute("CREATE TABLE expected (id TEXT, object_key TEXT, ordinal INT, version TEXT, content_hash TEXT)")
    database.execute("BEGIN")
    rows = (
        (
            row_id(collection.pipeline, collection.lane, entry.key, ordinal),
            entry.key,
            ordinal,
            version,
            entry.content_hash,
        )
        for entry in runtime.ledger.entries.stream(collection.name)
        for finished in [entry.version != "" and entry.rows == entry.intended_rows]
        for version in [entry.version if finished else ""]
        for ordinal in range(max(entry.rows, entry.intended_rows))
    )
    for batch in batched(rows, _BATCH):
        database.executemany("INSERT INTO expected VALUES (?, ?, ?, ?, ?)", batch)
    database.execute("COMMIT")
    database.execute("CREATE INDEX by_id ON expected (id)")


def _expected(database: sqlite3.Connection) -> Iterator[_Expected]:
    found = database.execute("SELECT id, object_key, ordinal, version, content_hash FROM expected ORDER BY id")
    return (_Expected(*row) for row in found)


def _stored(
    runtime: Runtime,
    collection: LaneCollection,
    see_page: Callable[[Sequence[StoredRow]], None],
    fields: Sequence[str],
) -> Iterator[list[StoredRow]]:
    """Rows with the same id together: some servers keep two."""
    same: list[StoredRow] = []
    for page in runtime.store.iterate(collection.name, [*COMPARED, *fields]):
        see_page(page)
        for row in page:
            identity: StoredRow = {name: row[name] for name in ("id", *COMPARED)}
            if same and same[0]["id"] != row["id"]:
                yield same
                same = []
            same.append(identity)
    if same:
        yield same


def _ordinal(row: StoredRow) -> int:
    value: Any = row["ordinal"]
    return int(value)
