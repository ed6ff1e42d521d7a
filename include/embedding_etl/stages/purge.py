"""purge: rows of objects that the source no longer has, or that the lane no longer takes. The last writes of a run."""

import shlex

from include.embedding_etl.batching import batched
from include.embedding_etl.deletions import doomed_entries, live_collections, pending_approval
from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.failpoints import durable_write
from include.embedding_etl.lane_changes import accepts
from include.embedding_etl.lane_collection import LaneCollection
from include.embedding_etl.replace_rows import RowRange, Target, delete_rows
from include.embedding_etl.run_files import listed_prefix
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.stage_figures import Figures, stage
from include.embedding_etl.types import ObjectRecord

BATCH_ROWS = 1_000


def purge(runtime: Runtime, run_id: str, approved_deletes: int = 0) -> Figures:
    """Delete by primary key, verify zero, commit; then forget the tombstones. Live collections of all lanes.

    Only of keys that the run has listed: a run of a prefix deletes nothing outside of it.

    Args:
        approved_deletes: Up to how many objects a person has allowed to vanish at once.
    Raises:
        IntegrityError: more objects vanished at once than the thresholds allow, or the run has no complete listing.
            Nothing was deleted.
    """
    with stage(runtime, run_id, "purge") as figures:
        prefix = listed_prefix(runtime, run_id)
        _guard(runtime, approved_deletes, prefix)
        for live in live_collections(runtime):
            figures["objects"] += purge_collection(runtime, run_id, live)["objects_deleted"]
            _resolve_moot_letters(runtime, live, prefix)
        with durable_write("forget_objects"):
            figures["tombstones"] = runtime.ledger.objects.delete_vanished(runtime.pipeline.name, prefix)
    return figures


def purge_collection(runtime: Runtime, run_id: str, collection: LaneCollection, first_shard: int = 0) -> Figures:
    """The same for one collection, without the guard: nobody reads a candidate.

    Everything is decided anew from the ledger, so a new token is right here: older writers are fenced off.
    """
    with stage(runtime, run_id, "purge", collection.lane, first_shard) as figures:
        lease = runtime.lease(collection.name, run_id)
        target = Target(runtime.pipeline.name, collection.lane, lease, run_id)
        doomed = doomed_entries(runtime, collection, listed_prefix(runtime, run_id))
        for batch in batched(doomed, BATCH_ROWS, weight=lambda entry: entry.intended_rows):
            lease = runtime.ledger.leases.extend(lease)
            ranges = [RowRange(entry.key, 0, max(entry.rows, entry.intended_rows)) for entry in batch]
            figures["rows_deleted"] += delete_rows(runtime.store, runtime.ledger, target, ranges, "purge_delete")
            with durable_write("purge_commit"):
                runtime.ledger.entries.delete(target.lease, collection.name, [entry.key for entry in batch])
            figures["objects_deleted"] += len(batch)
        if figures["objects_deleted"]:
            runtime.store.flush(collection.name)
    return figures


def _guard(runtime: Runtime, approved_deletes: int, prefix: str) -> None:
    """All lanes are counted before the first row is deleted."""
    name, uri = runtime.pipeline.name, runtime.pipeline.source.uri
    below = f" below {prefix!r}" if prefix else ""
    again = f" --prefix {shlex.quote(prefix)}" if prefix else ""
    for deletions in pending_approval(runtime, prefix):
        if deletions.doomed > approved_deletes:
            raise IntegrityError(
                f"lane {deletions.lane}: {deletions.doomed} of {deletions.indexed} objects{below} vanished from {uri} "
                f"at once; {max(deletions.allowed, approved_deletes)} need no approval. Nothing was deleted. If this "
                f"is right, approve it: `etl run {name} --approve-deletes {deletions.doomed}{again}`, or trigger "
                f"ingest__{name} with approve_deletes={deletions.doomed}{' and this prefix' if prefix else ''}."
            )


def _resolve_moot_letters(runtime: Runtime, collection: LaneCollection, prefix: str) -> None:
    """A dead letter of an object that is gone, or that the lane no longer takes, asks nothing of anybody."""
    name, lane = runtime.pipeline.name, collection.lane
    letters = runtime.ledger.dead_letters.open_for(name, lane, collection.fingerprint, prefix)
    for some in batched(letters, BATCH_ROWS):  # letters are few, objects are many: only theirs are looked up
        records = runtime.ledger.objects.get_many(name, [letter.key for letter in some])
        moot = [letter.key for letter in some if not _wanted(runtime, lane, records.get(letter.key))]
        runtime.ledger.dead_letters.resolve(name, lane, moot)


def _wanted(runtime: Runtime, lane: str, record: ObjectRecord | None) -> bool:
    return record is not None and not record.vanished and not record.skip_reason and accepts(runtime, lane, record)
