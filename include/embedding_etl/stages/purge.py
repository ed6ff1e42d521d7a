"""purge: rows of objects that the source no longer has, or that the lane no longer takes. The last writes of a run."""

from collections.abc import Iterator

from include.embedding_etl.batching import batched
from include.embedding_etl.diff import Action, merge
from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.failpoints import durable_write
from include.embedding_etl.lane_changes import accepts, lane_changes
from include.embedding_etl.live_collection import LiveCollection, find_live
from include.embedding_etl.replace_rows import RowRange, Target, delete_rows
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.stage_figures import Figures, stage
from include.embedding_etl.types import Entry

BATCH_ROWS = 1_000


def purge(runtime: Runtime, run_id: str, approved_deletes: int = 0) -> Figures:
    """Delete by primary key, verify zero, commit; then forget the tombstones.

    Args:
        approved_deletes: Up to how many objects a person has allowed to vanish at once.
    Raises:
        IntegrityError: more objects vanished at once than the thresholds allow. Nothing was deleted.
    """
    with stage(runtime, run_id, "purge") as figures:
        lanes = [live for lane in runtime.pipeline.lanes if (live := find_live(runtime, lane)) is not None]
        lanes = [live for live in lanes if runtime.store.has_collection(live.name)]
        _guard(runtime, lanes, approved_deletes)
        for live in lanes:
            figures["objects"] += _purge_lane(runtime, run_id, live)
            _resolve_moot_letters(runtime, live.lane)
        with durable_write("forget_objects"):
            figures["tombstones"] = runtime.ledger.objects.delete_vanished(runtime.pipeline.name)
    return figures


def _guard(runtime: Runtime, lanes: list[LiveCollection], approved_deletes: int) -> None:
    """All lanes are counted before the first row is deleted."""
    limits, name = runtime.pipeline.thresholds, runtime.pipeline.name
    for live in lanes:
        doomed = sum(1 for _ in _doomed(runtime, live))
        entries = runtime.ledger.entries.totals(live.name).objects
        allowed = max(limits.min_delete_objects, int(limits.max_delete_fraction * entries), approved_deletes)
        if doomed > allowed:
            raise IntegrityError(
                f"lane {live.lane}: {doomed} of {entries} objects vanished from {runtime.pipeline.source.uri} at once; "
                f"{allowed} need no approval. Nothing was deleted. If this is right, approve it: "
                f"`etl run {name} --approve-deletes {doomed}`, or trigger ingest__{name} with approve_deletes={doomed}."
            )


def _doomed(runtime: Runtime, live: LiveCollection) -> Iterator[Entry]:
    for change in lane_changes(runtime, live.lane, live.name, live.fingerprint):
        if change.action is Action.DELETE and change.entry is not None:
            yield change.entry


def _purge_lane(runtime: Runtime, run_id: str, live: LiveCollection) -> int:
    """Everything is decided anew from the ledger, so a new token is right here: older writers are fenced off."""
    with stage(runtime, run_id, "purge", live.lane) as figures:
        _delete(runtime, run_id, live, figures)
    return figures["objects_deleted"]


def _delete(runtime: Runtime, run_id: str, live: LiveCollection, figures: Figures) -> None:
    batches = batched(_doomed(runtime, live), BATCH_ROWS, weight=lambda entry: entry.intended_rows)
    lease = runtime.lease(live.name, run_id)
    target = Target(runtime.pipeline.name, live.lane, lease, run_id)
    for batch in batches:
        lease = runtime.ledger.leases.extend(lease)
        ranges = [RowRange(entry.key, 0, max(entry.rows, entry.intended_rows)) for entry in batch]
        figures["rows_deleted"] += delete_rows(runtime.store, runtime.ledger, target, ranges, "purge_delete")
        with durable_write("purge_commit"):
            runtime.ledger.entries.delete(target.lease, live.name, [entry.key for entry in batch])
        figures["objects_deleted"] += len(batch)
    if figures["objects_deleted"]:
        runtime.store.flush(live.name)


def _resolve_moot_letters(runtime: Runtime, lane: str) -> None:
    """A dead letter of an object that is gone, or that the lane no longer takes, asks nothing of anybody."""
    name = runtime.pipeline.name
    letters = runtime.ledger.dead_letters.open_for(name, lane)
    moot = (
        letter.key
        for letter, record in merge(letters, runtime.ledger.objects.stream(name), lambda a: a.key, lambda b: b.key)
        if letter is not None
        and (record is None or record.vanished or record.skip_reason or not accepts(runtime, lane, record))
    )
    for keys in batched(moot, BATCH_ROWS):
        runtime.ledger.dead_letters.resolve(name, lane, keys)
