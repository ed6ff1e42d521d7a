"""The DAGs `reindex` and `rollback`: one lane of one pipeline, as their form says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.steps.metrics import count_retry, send_cutover
from include.embedding_etl.steps.task_context import Summary, open_runtime, run_id, task_context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from include.embedding_etl.reindex_request import ReindexRequest
    from include.embedding_etl.runtime import Runtime

APPROVAL_HOURS = 72
FORM = ("lane", "rebuild", "index", "min_recall", "sample", "approval", "grace_hours")


def plan(pipeline: str) -> Summary:
    """Say what the reindex will do and cost, before anything is done."""
    from include.embedding_etl.reindex_plan import plan_reindex

    with open_runtime(pipeline) as runtime:
        lines, summary = plan_reindex(runtime, _request(runtime))
    for line in lines:
        print(line)  # noqa: T201 - the task's log is where people look
    return summary


def begin(pipeline: str) -> Summary:
    """Find or create the candidate; refused where another run reindexes the lane."""
    from include.embedding_etl.candidate import begin_reindex

    with open_runtime(pipeline) as runtime:
        candidate = begin_reindex(runtime, run_id(), _request(runtime))
    return {"candidate": candidate.name, "model": candidate.info.model_id}


def scan(pipeline: str) -> None:
    """List the source, and look at what is new or changed."""
    from include.embedding_etl.converge import look_at_source

    with open_runtime(pipeline) as runtime:
        look_at_source(runtime, run_id(), print)


def route(pipeline: str) -> list[str]:
    """Cut what the candidate lacks into shards."""
    from include.embedding_etl.reindex import collections_of
    from include.embedding_etl.stages.route import route as run_route

    with open_runtime(pipeline) as runtime:
        candidate, _ = collections_of(runtime, run_id())
        return run_route(runtime, run_id(), candidate)


def catch_up(pipeline: str) -> None:
    """List the source again; bring the candidate up to what has changed while it was built."""
    from include.embedding_etl.reindex import catch_up as run_catch_up

    with open_runtime(pipeline) as runtime:
        run_catch_up(runtime, run_id(), print)


def verify(pipeline: str) -> Summary:
    """Look at every row, ask the index, compare with what readers find now.

    Raises:
        IntegrityError: the candidate must not go live; the message says why.
    """
    from include.embedding_etl.reindex import verify_candidate

    with open_runtime(pipeline) as runtime:
        result = verify_candidate(runtime, run_id())
        # Nobody shows life while a person thinks: the lane's lease has to last as long as the question.
        runtime.lease(runtime.reindexing(_lane(runtime)), run_id(), ttl_s=(APPROVAL_HOURS + 1) * 3600)
    return {
        "rows": result.rows,
        "recall": round(result.recall, 4),
        "queries": result.queries,
        "overlap": None if result.overlap is None else round(result.overlap, 4),
        "dead_letters": result.dead_letters,
        "questions": len(result.questions),
    }


def choose_place(places: Mapping[str, str], steps: list[str]) -> list[str]:
    """Branch: the tasks of the place where the model of the form's lane runs.

    Args:
        places: What the ids of its tasks end with, of every `pipeline/lane`.
        steps: What they begin with.
    """
    params = task_context()["params"]
    place = places[f"{params['pipeline']}/{params['lane']}"]
    return [f"{step}{place}" for step in steps]


def needs_approval(pipeline: str, switch: str) -> str:
    """Branch: ask a person, or switch at once, as the form says."""
    from include.embedding_etl.candidate import reindex_record, request_of

    with open_runtime(pipeline) as runtime:
        return "approve" if request_of(reindex_record(runtime, run_id())).approval else switch


def approval_question(pipeline: str) -> str:
    """What the person reads who decides."""
    from include.embedding_etl.approval_text import describe_verification
    from include.embedding_etl.candidate import reindex_record

    with open_runtime(pipeline) as runtime:
        return describe_verification(reindex_record(runtime, run_id()))


def cut_over(pipeline: str) -> None:
    """Catch up once more, switch the alias, look through it, record it."""
    from include.embedding_etl.reindex import switch

    with open_runtime(pipeline) as runtime:
        lane = _lane(runtime)
        count_retry(pipeline, lane, "cut_over")
        switch(runtime, run_id())
    send_cutover(pipeline, lane)


def report(pipeline: str) -> Summary:
    """End the reindex, whatever came of it.

    Raises:
        IntegrityError: readers still see the old collection. The run is red.
    """
    from include.embedding_etl.reindex import finish

    ti, context = task_context()["ti"], task_context()
    states = ti.get_task_states(dag_id=context["dag"].dag_id, task_ids=["approve"], run_ids=[context["run_id"]])
    rejected = "failed" in str(states)
    with open_runtime(pipeline) as runtime:
        if rejected:
            runtime.ledger.reindexes.set_state(run_id(), "rejected")
        result = finish(runtime, run_id(), "it was not approved" if rejected else "")
    if not result.cut_over:
        raise IntegrityError(
            f"Readers of {result.pipeline}_{result.lane} still see {result.replaces}: {result.problem}. "
            f"{result.candidate} is kept for a while, for inspection: `etl collections list {result.pipeline}`."
        )
    return {"live": result.candidate, "retired": result.replaces}


def _request(runtime: Runtime) -> ReindexRequest:
    from include.embedding_etl.reindex_request import PREVIOUS, ReindexRequest

    params = task_context()["params"]
    if "earlier" in params:
        values: dict[str, Any] = {
            "lane": params["lane"],
            "earlier": params["earlier"] or PREVIOUS,
            "approval": False,
            "min_recall": 0.0,
            "grace_hours": params["grace_hours"],
        }
    else:
        values = {name: params[name] for name in FORM}
    return ReindexRequest.parse(runtime.pipeline, values)


def _lane(runtime: Runtime) -> str:
    from include.embedding_etl.candidate import reindex_record

    return reindex_record(runtime, run_id()).lane
