"""Make a verified candidate the collection that readers see, without a moment in which they see none.

catch up   without holding anybody up
stop       nobody writes to the live collection from here on: ingestion waits
catch up   with what was written meanwhile; its rows and the ledger's must agree
switch     the alias, read back, and searched through
record     in the ledger; the old collection stays for a while
"""

import time

import numpy as np

from include.embedding_etl.converge import converge_collection
from include.embedding_etl.deletions import count_deletions
from include.embedding_etl.diff import Action
from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.failpoints import durable_write
from include.embedding_etl.lane_changes import lane_changes
from include.embedding_etl.lane_collection import LaneCollection
from include.embedding_etl.ledger import Heartbeat
from include.embedding_etl.reindex_request import ReindexRequest
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.stage_figures import stage
from include.embedding_etl.types import Hit, Vectors
from include.embedding_etl.wording import counted

LAST_SHARD, VERY_LAST_SHARD = 2_000, 3_000  # shard numbers of the two catch-ups
INGESTION_WAIT_S = 600.0
ALIAS_WAIT_S = 60.0  # a server may answer from a stale cache for a while
DONE = frozenset({Action.KEEP, Action.DEAD, Action.DEFER})


def cut_over(runtime: Runtime, run_id: str, candidate: LaneCollection, live: str, request: ReindexRequest) -> None:
    """Switch the alias to the candidate.

    Args:
        candidate: Verified.
        live: Real name of the collection that it replaces.
    Raises:
        TransientError: an ingestion run is writing to the live collection, and did not end in time.
        IntegrityError: the candidate is not what it was when it was verified. Readers still see the old collection.
    """
    record = runtime.ledger.collections.live(runtime.pipeline.name, candidate.lane)
    if record is None or record.name != live:
        raise IntegrityError(f"lane {candidate.lane}: {live} is not its live collection any more; reindex again")
    _catch_up(runtime, run_id, candidate, LAST_SHARD)
    with stage(runtime, run_id, "cut over", candidate.lane):
        lease = runtime.lease(live, run_id, INGESTION_WAIT_S)
        with Heartbeat(runtime.ledger, lease):
            _catch_up(runtime, run_id, candidate, VERY_LAST_SHARD)
            require_agreement(runtime, candidate)
            _switch(runtime, candidate, live)
            runtime.ledger.leases.check(lease)
            drop_after_ms = int((time.time() + request.grace_hours * 3600) * 1000)
            with durable_write("cutover_commit"):
                runtime.ledger.collections.cut_over(candidate.alias, live, candidate.name, run_id, drop_after_ms)
        if record.fingerprint != candidate.fingerprint:
            runtime.ledger.dead_letters.resolve_fingerprint(candidate.pipeline, candidate.lane, record.fingerprint)
        runtime.ledger.leases.release(lease)


def require_agreement(runtime: Runtime, collection: LaneCollection) -> None:
    """Every row was read back when it was written: what is left to compare are the sums.

    Raises:
        IntegrityError: they differ.
    """
    pending = sum(change.action not in DONE for change in lane_changes(runtime, collection))
    totals, rows = runtime.ledger.entries.totals(collection.name), runtime.store.count(collection.name)
    if pending or totals.unfinished or totals.rows != rows:
        raise IntegrityError(
            f"{collection.name}: to do: {pending}, unfinished: {totals.unfinished}; "
            f"{counted(totals.rows, 'row')} verified, {rows} in Milvus: nothing was switched; trigger the reindex again"
        )


def _catch_up(runtime: Runtime, run_id: str, candidate: LaneCollection, first_shard: int) -> None:
    """With what ingestion has seen; what would vanish now was not there to be approved."""
    deletions = count_deletions(runtime, candidate)
    if deletions.needs_approval:
        raise IntegrityError(
            f"lane {candidate.lane}: {deletions.doomed} of {deletions.indexed} objects vanished since the candidate "
            f"was verified: nothing was switched; look at the source, then reindex again"
        )
    converge_collection(runtime, run_id, candidate, lambda _: None, first_shard)
    runtime.store.flush(candidate.name)


def _switch(runtime: Runtime, candidate: LaneCollection, live: str) -> None:
    with durable_write("cutover_alias"):
        runtime.store.point_alias(candidate.alias, candidate.name)
    probe, until = _probe(runtime, candidate), time.monotonic() + ALIAS_WAIT_S
    while _seen(runtime, candidate, candidate.alias, probe) != _seen(runtime, candidate, candidate.name, probe):
        if time.monotonic() > until:
            if runtime.store.has_collection(live):
                runtime.store.point_alias(candidate.alias, live)
            raise IntegrityError(
                f"alias {candidate.alias} points at {candidate.name}, but a search through it does not show its rows; "
                f"it points at {live} again"
            )
        time.sleep(1.0)


def _probe(runtime: Runtime, candidate: LaneCollection) -> Vectors:
    """The vector of one row, as a query; none in an empty collection."""
    page = next(iter(runtime.store.iterate(candidate.name, ["vector"])), [])
    return np.asarray([row["vector"] for row in page[:1]], np.float32)


def _seen(runtime: Runtime, candidate: LaneCollection, name: str, probe: Vectors) -> list[list[Hit]]:
    """What readers of that name get: a row tells by its run which collection it is from."""
    fields = ["object_version", "run_id"]
    return runtime.store.search(name, probe, 3, fields=fields, params=candidate.settings.index.search)
