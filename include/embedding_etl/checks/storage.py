"""Storage against ledger.objects. What differs is no fault: the next run does it."""

import tempfile

from include.embedding_etl.batching import batched
from include.embedding_etl.checks.differences import Difference, Differences
from include.embedding_etl.diff import UNREADABLE, compare_listing
from include.embedding_etl.routing import KeyFilter
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.snapshot import iter_snapshot, write_snapshot
from include.embedding_etl.state import StateStore
from include.embedding_etl.types import ListedObject, ObjectRecord

_BATCH = 1_000


def check_storage(runtime: Runtime, differences: Differences) -> int:
    """List the source completely, into a temporary file, and compare.

    Returns:
        How many objects there are.
    Raises:
        TransientError, IntegrityError: the listing did not complete: nothing can be said then.
    """
    pipeline = runtime.pipeline
    with tempfile.TemporaryDirectory(prefix="embedding-etl-") as directory:
        state = StateStore(directory, runtime.places)
        snapshot = write_snapshot(
            state,
            "snapshot.parquet",
            pipeline.source.uri,
            runtime.source.list(),
            KeyFilter(pipeline.source.include, pipeline.source.exclude).accepts,
        )
        compared = compare_listing(iter_snapshot(state, snapshot), runtime.ledger.objects.stream(pipeline.name))
        found = (_difference(listed, record) for listed, record in compared if not _unreadable(record))
        for batch in batched(found, _BATCH):
            differences.add(*batch)
    return snapshot.objects


def _unreadable(record: ObjectRecord | None) -> bool:
    """Every run looks at it again, and every report counts it; it says nothing about the index."""
    return record is not None and not record.vanished and record.skip_reason == UNREADABLE


def _difference(listed: ListedObject | None, record: ObjectRecord | None) -> Difference:
    if listed is None:
        assert record is not None  # noqa: S101 - compare_listing yields at least one of the two
        return Difference("vanished object", "", "", record.key, record.key)
    kind = "new object" if record is None or record.vanished else "changed object"
    return Difference(kind, "", "", listed.key, listed.key)
