"""Replace the rows of many objects, without transactions, so that a crash anywhere is healed by running again.

    intend    the ledger learns how many rows may exist from now on
    upsert    new rows at deterministic ids
    verify    read (id, object_version) back with Strong consistency
    delete    rows beyond the new count, of an older version
    verify    they are gone
    commit    the ledger says so, and only now

One upsert, one read and at most one delete a batch, never a query per object.

The lease is checked before each write, and once more behind it: Milvus has no conditional writes, so a process that
was frozen in between may have written although another run has taken over. It then distrusts what it wrote, and the
next run writes those objects again.
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
class RowRange:
    """Some rows of one object, by ordinal; empty when `first` is not below `behind_last`."""

    key: str
    first: int
    behind_last: int


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

    def row_ids(self, item: RowRange) -> list[str]:
        """Primary keys of a range of an object's rows."""
        return [row_id(self.pipeline, self.lane, item.key, n) for n in range(item.first, item.behind_last)]


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
        RowRange(item.key, len(item.rows), max(entry.rows, entry.intended_rows))
        for item in objects
        if (entry := known.get(item.key)) is not None
    ]
    deleted = delete_rows(store, ledger, target, stale, "stale_delete")
    with durable_write("entry_commit"):
        ledger.entries.commit(target.lease, target.collection, [entry_of(item, target.run_id) for item in objects])
    return deleted


def delete_rows(store: VectorStore, ledger: Ledger, target: Target, ranges: Sequence[RowRange], failpoint: str) -> int:
    """Delete rows by primary key, read that they are gone, and return how many they were.

    Raises:
        TransientError, IntegrityError: as `replace_rows`.
    """
    ids = [row_id for item in ranges for row_id in target.row_ids(item)]
    if not ids:
        return 0
    ledger.leases.check(target.lease)
    with durable_write(failpoint):
        store.delete(target.collection, ids)
    check_again(ledger, target, [(item.key, item.behind_last) for item in ranges])
    left = store.read_versions(target.collection, ids)
    if left:
        raise IntegrityError(f"{target.collection}: {len(left)} of {len(ids)} deleted rows are still there")
    return len(ids)


def _upsert(store: VectorStore, ledger: Ledger, target: Target, objects: Sequence[NewRows]) -> None:
    rows = [row for item in objects for row in item.rows]
    ledger.leases.check(target.lease)
    with durable_write("upsert"):
        store.upsert(target.collection, rows)
    check_again(ledger, target, [(item.key, len(item.rows)) for item in objects])
    found = store.read_versions(target.collection, [row.id for row in rows])
    wrong = [row for row in rows if found.get(row.id) != row.object_version]
    if wrong:
        raise IntegrityError(
            f"{target.collection}: {len(wrong)} of {len(rows)} rows are not there after the upsert; "
            f"the first is chunk {wrong[0].ordinal} of {wrong[0].object_key!r}"
        )


def check_again(ledger: Ledger, target: Target, written: Sequence[tuple[str, int]]) -> None:
    """Behind a write: whoever lost the lease meanwhile distrusts what it wrote, so that it is written again.

    Args:
        written: (key, rows).
    Raises:
        TransientError: the lease is lost.
    """
    if not ledger.leases.holds(target.lease):
        ledger.entries.distrust(target.collection, written)
    ledger.leases.check(target.lease)


def entry_of(item: NewRows, run_id: str) -> Entry:
    """What the ledger may say of an object whose rows have been read."""
    count = len(item.rows)
    return Entry(item.key, item.version, item.last_modified_ms, item.content_hash, count, count, run_id)
