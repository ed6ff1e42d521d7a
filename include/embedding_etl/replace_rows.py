"""Replace the rows of many objects, without transactions, so that a crash anywhere is healed by running again.

    intend    the ledger learns how many rows may exist from now on
    upsert    new rows at deterministic ids
    verify    read (id, object_version) back with Strong consistency
    delete    rows beyond the new count, of an older version
    verify    they are gone
    commit    the ledger says so, and only now

One upsert, one read and at most one delete a batch, never a query per object.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.failpoints import durable_write
from include.embedding_etl.ledger import Ledger
from include.embedding_etl.ledger.records import Lease
from include.embedding_etl.types import Entry, Row
from include.embedding_etl.vectorstore.base import VectorStore
from include.embedding_etl.vectorstore.schema import row_id


@dataclass(frozen=True, slots=True)
class NewRows:
    """All rows of one version of one object."""

    key: str
    version: str
    last_modified_ms: int
    content_hash: str
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Target:
    """The collection that is written to, by whom."""

    pipeline: str
    lane: str
    lease: Lease  # names the collection, and fences every write
    run_id: str

    @property
    def collection(self) -> str:
        """The physical name."""
        return self.lease.collection

    def row_ids(self, key: str, first: int, behind_last: int) -> list[str]:
        """Primary keys of an object's rows by ordinal."""
        return [row_id(self.pipeline, self.lane, key, ordinal) for ordinal in range(first, behind_last)]


def replace_rows(store: VectorStore, ledger: Ledger, target: Target, objects: Sequence[NewRows]) -> int:
    """Replace the rows of a batch of objects and return how many stale rows were deleted.

    Raises:
        TransientError: Milvus did not answer, or the lease is lost: somebody else converges this collection by now.
        IntegrityError: what Milvus holds afterwards is not what was written. Nothing is committed then.
    """
    known = ledger.entries.get_many(target.collection, [item.key for item in objects])
    with durable_write("intend"):
        ledger.entries.intend(target.lease, target.collection, [(item.key, len(item.rows)) for item in objects])
    _upsert(store, ledger, target, objects)
    stale = [
        stale_id
        for item in objects
        if (entry := known.get(item.key)) is not None
        for stale_id in target.row_ids(item.key, len(item.rows), max(entry.rows, entry.intended_rows))
    ]
    delete_rows(store, ledger, target, stale, "stale_delete")
    with durable_write("entry_commit"):
        ledger.entries.commit(target.lease, target.collection, [_entry(item, target.run_id) for item in objects])
    return len(stale)


def delete_rows(store: VectorStore, ledger: Ledger, target: Target, ids: Sequence[str], failpoint: str) -> None:
    """Delete rows by primary key and read that they are gone.

    Raises:
        TransientError, IntegrityError: as `replace_rows`.
    """
    if not ids:
        return
    ledger.leases.check(target.lease)
    with durable_write(failpoint):
        store.delete(target.collection, ids)
    left = store.read_versions(target.collection, ids)
    if left:
        raise IntegrityError(f"{target.collection}: {len(left)} of {len(ids)} deleted rows are still there")


def _upsert(store: VectorStore, ledger: Ledger, target: Target, objects: Sequence[NewRows]) -> None:
    rows = [row for item in objects for row in item.rows]
    ledger.leases.check(target.lease)
    with durable_write("upsert"):
        store.upsert(target.collection, rows)
    found = store.read_versions(target.collection, [row.id for row in rows])
    wrong = [row for row in rows if found.get(row.id) != row.object_version]
    if wrong:
        raise IntegrityError(
            f"{target.collection}: {len(wrong)} of {len(rows)} rows are not there after the upsert; "
            f"the first is chunk {wrong[0].ordinal} of {wrong[0].object_key!r}"
        )


def _entry(item: NewRows, run_id: str) -> Entry:
    count = len(item.rows)
    return Entry(item.key, item.version, item.last_modified_ms, item.content_hash, count, count, run_id)
