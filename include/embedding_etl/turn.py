"""One ingestion of a pipeline at a time. The next one waits; a run that waits for a person gives its turn away."""

import time

from include.embedding_etl.errors import TransientError
from include.embedding_etl.lost_runs import give_up_lost_runs
from include.embedding_etl.runtime import Runtime


def take_turn(runtime: Runtime, run_id: str, wait_s: float = 0.0, prefix: str = "") -> None:
    """Open the run and make it the one that may ingest. Its stages keep the turn; report gives it back.

    Args:
        prefix: What the run is about: one of a part of the source is no word about all of it, and is recorded so.
    Raises:
        TransientError: another run is at work; the message names it.
    """
    # First: taking the turn of a run that was killed wipes out the trace that tells that it was.
    give_up_lost_runs(runtime, time.time_ns() // 1_000_000)
    runtime.lease(runtime.turn, run_id, wait_s)
    runtime.ledger.runs.start(run_id, runtime.pipeline.name, "backfill" if prefix else "ingest")


def give_turn_back(runtime: Runtime, run_id: str) -> None:
    """Let others work: the turn, and the right to write to collections, of whatever this run holds."""
    leases, collections = runtime.ledger.leases, runtime.ledger.collections.of_pipeline(runtime.pipeline.name)
    for name in (*(record.name for record in collections), runtime.listing, runtime.turn):
        lease = leases.find(name)
        if lease is not None and lease.owner == run_id:
            leases.release(lease)


def may_ask_about_deletes(runtime: Runtime, run_id: str, hours: float) -> bool:
    """Whether this run is the one that asks a person about a mass deletion; it then has `hours` to get an answer."""
    if hours <= 0:
        return False
    try:
        runtime.lease(_question(runtime), run_id, ttl_s=hours * 3600)
    except TransientError:
        return False  # another run is asking already
    return True


def stop_asking_about_deletes(runtime: Runtime, run_id: str) -> None:
    """The answer has come: the next run may ask again."""
    lease = runtime.ledger.leases.find(_question(runtime))
    if lease is not None and lease.owner == run_id:
        runtime.ledger.leases.release(lease)


def _question(runtime: Runtime) -> str:
    return f"question about deletes of {runtime.pipeline.name}"
