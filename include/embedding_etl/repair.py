"""repair: mend what an audit finds, through converge. A dry run first: what is going to be done, before it is done.

The run has its pipeline's turn: no ingestion is at work meanwhile. Killed anywhere, it is finished by repairing again.
"""

from collections.abc import Callable
from dataclasses import dataclass

from include.embedding_etl.audit import Audit, compare
from include.embedding_etl.checks.differences import Difference, Differences
from include.embedding_etl.converge import Request, converge
from include.embedding_etl.mending import STEPS, TURN_WAIT_S, Work
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.stage_figures import stage
from include.embedding_etl.turn import give_turn_back


@dataclass(frozen=True, slots=True)
class Repair:
    """What was found, what was done about it, and what kept more from being done. A second audit has the last word."""

    before: Audit
    done: tuple[str, ...]
    problems: tuple[str, ...]


def repair(
    runtime: Runtime, run_id: str, approve_deletes: int = 0, tell: Callable[[str], None] = lambda _: None
) -> Repair:
    """Audit, mend, converge.

    Args:
        runtime: Whose pipeline.
        run_id: Who does it.
        approve_deletes: Up to how many objects, or rows that are not ours, may go at once.
        tell: Called with one short line before each step, for progress.
    Raises:
        TransientError: a run is at work and does not end, or something does not answer.
    """
    runtime.lease(runtime.turn, run_id, TURN_WAIT_S)
    runtime.ledger.runs.start(run_id, runtime.pipeline.name, "audit")
    try:
        with Differences() as differences, stage(runtime, run_id, "repair") as figures:
            before = compare(runtime, run_id, differences, tell)
            for line in planned(before):
                tell(line)
            work = Work(runtime, run_id, differences, approve_deletes)
            for step in STEPS:
                step(work)
            rewritten = frozenset(each.lane for each in _to_rewrite(differences))
            figures["faults"] = before.faults
    except BaseException:
        runtime.ledger.runs.finish(run_id, "failed")
        give_turn_back(runtime, run_id)
        raise
    if before.clean:
        runtime.ledger.runs.finish(run_id, "succeeded")
        give_turn_back(runtime, run_id)
        return Repair(before, (), ())
    report = converge(runtime, run_id, Request(rewritten, approve_deletes), tell)
    return Repair(before, (*work.done, *_converged(report.problems)), (*work.problems, *report.problems))


def planned(found: Audit) -> list[str]:
    """The dry run: what a repair would do about each finding."""
    return [f"{each.lane or 'all lanes'}: {each.count} × {each.kind}: {each.mending}" for each in found.findings]


def _converged(problems: list[str]) -> list[str]:
    return [] if problems else ["converged: what was distrusted or pending is done"]


def _to_rewrite(differences: Differences) -> list[Difference]:
    """Collections that are gone, and duplicates that no server shows: only writing all rows again gets rid of them."""
    hidden = [each for each in differences.stream("duplicate row") if not each.key]
    return [*differences.of("missing collection", "missing index"), *hidden]
