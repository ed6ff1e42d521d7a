"""Runs that will never say how they ended: killed for good, or deleted where they were started.

They would be `running` for ever: pages would show them, and retention would keep their files. A run is given up when

    it is known to have ended    Airflow says so, or has it no more; or the one process it lives in has died
    it has gone quiet            it holds no lease that is still good, has shown no life for QUIET_LEASES times the time
                                 of a lease (a day, unless ETL_LEASE_TTL_S says otherwise), and nobody knows of it

and never while Airflow says that it is there, however long it waits for a worker. A run that waits for a person holds
a lease for as long as the question stands. Should one that was given up come back nonetheless, its next sign of life
makes it `running` again.
"""

from datetime import UTC, datetime

from include.embedding_etl.ledger.process import is_dead
from include.embedding_etl.ledger.records import RunLife
from include.embedding_etl.runtime import Runtime

QUIET_LEASES = 288


def lost_runs(runtime: Runtime, now_ms: int) -> dict[RunLife, str]:
    """The runs of the pipeline that are over without having said so, and why one may think that."""
    lives = runtime.ledger.runs.signs_of_life(runtime.pipeline.name)
    found = {life: _why(runtime, life, now_ms) for life in lives}
    return {life: why for life, why in found.items() if why}


def give_up(runtime: Runtime, life: RunLife, why: str) -> bool:
    """Close a run, and its reindex, as failed; False where it has shown life since."""
    ledger = runtime.ledger
    if not ledger.runs.give_up(life, why):
        return False
    reindex = ledger.reindexes.get(life.run_id)
    if reindex is not None and reindex.ended_at_ms is None:
        ledger.reindexes.set_state(life.run_id, "failed")
    return True


def give_up_lost_runs(runtime: Runtime, now_ms: int) -> None:
    """Close all that are lost."""
    for life, why in lost_runs(runtime, now_ms).items():
        give_up(runtime, life, why)


def _why(runtime: Runtime, life: RunLife, now_ms: int) -> str:
    has_ended = runtime.has_ended(life.run_id)
    if has_ended is not None:
        return "it ended, or was deleted, without a report" if has_ended else ""
    if life.process is not None and is_dead(life.process):
        return f"its process {life.process.pid} died without a report"
    quiet_ms = QUIET_LEASES * runtime.places.lease_ttl_s * 1000
    if max(life.seen_at_ms, life.leased_until_ms) + quiet_ms > now_ms:
        return ""
    seen = datetime.fromtimestamp(life.seen_at_ms / 1000, UTC)
    return f"it has shown no life since {seen:%Y-%m-%d %H:%M:%S} UTC"
