"""reindex: another model, chunker or index for a lane, without downtime. A rollback is the same with an old one.

    begin     make or find the candidate
    build     converge it, beside the live collection, which ingestion goes on with
    catch up  list the source again, converge once more
    verify    verification.py
    approve   a person looks at what readers will find
    cut over  cutover.py
    finish    whatever happened: say so, keep what is worth keeping, for a while

In Airflow each step is a task (steps/reindex.py); `reindex` here does them in one process. Each may be done again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from include.embedding_etl.candidate import begin_reindex, reindex_record, request_of
from include.embedding_etl.converge import converge_collection, look_at_source
from include.embedding_etl.cutover import cut_over, require_agreement
from include.embedding_etl.errors import EmbeddingEtlError, IntegrityError
from include.embedding_etl.lane_collection import LaneCollection, open_collection
from include.embedding_etl.ledger.records import CollectionState
from include.embedding_etl.reindex_request import ReindexRequest
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.stage_figures import stage
from include.embedding_etl.types import JsonValue
from include.embedding_etl.verification import Verification, verify

CATCH_UP_SHARD = 1_000  # shard number of the catch-up: a run's build keeps its figures
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class ReindexResult:
    """What came of it."""

    pipeline: str
    lane: str
    run_id: str
    candidate: str
    replaces: str
    cut_over: bool
    verification: dict[str, Any]
    problem: str = ""

    def to_json(self) -> dict[str, JsonValue]:
        """Plain values, for `--json`."""
        return {name: getattr(self, name) for name in self.__slots__}


def reindex(
    runtime: Runtime,
    run_id: str,
    request: ReindexRequest,
    approve: Callable[[Verification], bool],
    tell: Callable[[str], None] = lambda _: None,
) -> ReindexResult:
    """All steps, in this process.

    Args:
        approve: Asked when the candidate is verified, unless the request wants no approval.
        tell: Called with one short line before each step, for progress.
    Returns:
        What came of it; `problem` says why there was no cutover.
    Raises:
        ConfigError, IntegrityError: it could not begin.
    """
    candidate = begin_reindex(runtime, run_id, request)
    problem = ""
    try:
        look_at_source(runtime, run_id, tell)
        converge_collection(runtime, run_id, candidate, tell)
        tell("catch up: with what has changed meanwhile")
        catch_up(runtime, run_id, tell)
        tell(f"verify {candidate.name}")
        verification = verify_candidate(runtime, run_id)
        if request.approval and not approve(verification):
            runtime.ledger.reindexes.set_state(run_id, "rejected")
            problem = "not approved"
        else:
            tell(f"cut over to {candidate.name}: waiting until nobody writes to the live collection")
            switch(runtime, run_id)
    except EmbeddingEtlError as error:
        problem = str(error)
    finally:
        result = finish(runtime, run_id, problem)
    return result


def catch_up(runtime: Runtime, run_id: str, tell: Callable[[str], None] = lambda _: None) -> None:
    """Bring the candidate up to what the source holds now."""
    candidate, _ = collections_of(runtime, run_id)
    look_at_source(runtime, run_id, tell)
    converge_collection(runtime, run_id, candidate, tell, CATCH_UP_SHARD)


def verify_candidate(runtime: Runtime, run_id: str) -> Verification:
    """Flush, index, load, and look at all of it.

    Raises:
        IntegrityError: it must not go live; the message says why.
    """
    record = reindex_record(runtime, run_id)
    candidate, live = collections_of(runtime, run_id)
    with stage(runtime, run_id, "verify", candidate.lane) as figures:
        runtime.store.create_collection(candidate.spec)  # makes the index where that was cut off
        if not runtime.store.aliases(candidate.name):  # else a run died in the middle of its cutover: it was verified
            runtime.store.load_index(candidate.name)
        result = verify(runtime, candidate, live, request_of(record))
        figures["rows"], figures["queries"] = result.rows, result.queries
        runtime.ledger.reindexes.set_verification(run_id, result.to_json())
    if result.problems:
        raise IntegrityError(
            f"{candidate.name} is refused; readers still see {live.name}:\n"
            + "\n".join(f"- {problem}" for problem in result.problems)
        )
    runtime.ledger.reindexes.set_state(run_id, "verified")
    return result


def switch(runtime: Runtime, run_id: str) -> None:
    """Cut over; done already is fine."""
    record = reindex_record(runtime, run_id)
    candidate, _ = collections_of(runtime, run_id)
    if candidate.state != "live":
        cut_over(runtime, run_id, candidate, record.replaces, request_of(record))
    target = runtime.store.alias_target(candidate.alias)
    if target != candidate.name:
        raise IntegrityError(f"alias {candidate.alias} points at {target or 'nothing'}, not at {candidate.name}")
    require_agreement(runtime, candidate)
    runtime.ledger.reindexes.set_state(run_id, "cut over")


def finish(runtime: Runtime, run_id: str, problem: str = "") -> ReindexResult:
    """End the reindex, whatever came of it. Unless it is live, the candidate stays for the request's grace time."""
    record = reindex_record(runtime, run_id)
    done = record.state == "cut over"
    if not done:
        if record.state in ("building", "verified"):
            runtime.ledger.reindexes.set_state(run_id, "failed")
        candidate = runtime.ledger.collections.get(record.candidate)
        if candidate is not None and candidate.state == "candidate":
            request = request_of(record)
            drop_after_ms = int((time.time() + request.grace_hours * 3600) * 1000)
            kept_as: CollectionState = "retired" if request.earlier else "candidate"
            runtime.ledger.collections.set_state(record.candidate, kept_as, drop_after_ms)
    runtime.ledger.runs.finish(run_id, "succeeded" if done else "failed")
    for name in (record.candidate, record.replaces, runtime.listing, runtime.reindexing(record.lane)):
        lease = runtime.ledger.leases.find(name)
        if lease is not None and lease.owner == run_id:
            runtime.ledger.leases.release(lease)
    return ReindexResult(
        record.pipeline,
        record.lane,
        run_id,
        record.candidate,
        record.replaces,
        done,
        dict(record.verification),
        "" if done else problem or "it did not get as far as the cutover",
    )


def collections_of(runtime: Runtime, run_id: str) -> tuple[LaneCollection, LaneCollection]:
    """A reindex's candidate, and the collection that it replaces."""
    record = reindex_record(runtime, run_id)
    return open_collection(runtime, record.candidate), open_collection(runtime, record.replaces)
