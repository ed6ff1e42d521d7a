"""The DAG of one pipeline: ingest__<pipeline>."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.embedding_etl.errors import IntegrityError, TransientError
from include.embedding_etl.steps.metrics import count_retry, send_embedded, send_state, send_synced
from include.embedding_etl.steps.task_context import (
    Summary,
    checked_pipeline,
    failed_tasks,
    open_runtime,
    param,
    run_id,
    task_context,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

DELETE_ROWS = "Delete the rows"
KEEP_ROWS = "Keep the rows"
TURN_WAIT_S = 600.0


def plan(pipeline: str) -> bool:
    """Short circuit: a dry run says what a run would do, and ends here. Writes nothing but this task's log and XCom.

    Raises:
        ConfigError: the form contradicts itself or the pipeline, or the run could not work on Airflow's workers.
    """
    from include.embedding_etl.places import Places

    checked_pipeline(pipeline, Places())
    prefix = _prefix()
    if not param("dry_run") and not prefix:
        return True
    from include.embedding_etl.converge import Request, check_request
    from include.embedding_etl.plan import plan as make_plan
    from include.embedding_etl.plan import plan_lines

    with open_runtime(pipeline) as runtime:
        check_request(runtime.pipeline, Request(frozenset(param("rewrite") or ()), prefix=prefix))
        if not param("dry_run"):
            return True
        result = make_plan(runtime, prefix)
    for line in plan_lines(result):
        print(line)  # noqa: T201 - the task's log is where people look
    for lane, figures in result.summary().items():
        task_context()["ti"].xcom_push(f"plan_{lane}", figures)
    return False


def wait_for_turn(pipeline: str) -> bool:
    """Sensor: whether this run may begin. One ingestion of a pipeline at a time."""
    from include.embedding_etl.turn import take_turn

    with open_runtime(pipeline) as runtime:
        try:
            take_turn(runtime, run_id(), prefix=_prefix())
        except TransientError as error:
            print(error)  # noqa: T201 - the task's log is where people look
            return False
    return True


def scan(pipeline: str) -> Summary:
    """List the source completely, or what the run is about."""
    from include.embedding_etl.stages.scan import scan as run_scan

    with open_runtime(pipeline) as runtime:
        snapshot = run_scan(runtime, run_id(), _prefix())
    return {"objects": snapshot.objects, "bytes": snapshot.bytes, "snapshot": snapshot.path}


def identify(pipeline: str) -> Summary:
    """Look at what is new or changed."""
    from include.embedding_etl.stages.identify import identify as run_identify

    with open_runtime(pipeline) as runtime:
        return dict(run_identify(runtime, run_id()))


def route(pipeline: str, lane: str) -> list[str]:
    """Compare one lane with its collection, and cut the work into shards."""
    from include.embedding_etl.lane_collection import ensure_live
    from include.embedding_etl.stages.route import route as run_route
    from include.embedding_etl.stages.route import route_rewrite

    with open_runtime(pipeline) as runtime:
        cut = route_rewrite if lane in (param("rewrite") or ()) else run_route
        return cut(runtime, run_id(), ensure_live(runtime, lane))


def embed(pipeline: str, shard: str) -> Summary:
    """Make the vectors of one shard."""
    from include.embedding_etl.run_files import parse_shard
    from include.embedding_etl.stages.embed import embed as run_embed

    context = task_context()
    context["shard"] = shard  # map_index_template shows it
    last_try = context["ti"].try_number > context["ti"].max_tries
    lane, _ = parse_shard(shard)
    count_retry(pipeline, lane, "embed")
    with open_runtime(pipeline) as runtime:
        figures = run_embed(runtime, run_id(), shard, last_try)
    send_embedded(pipeline, lane, figures)
    return {"shard": shard, **figures}


def sync(pipeline: str, embedded: Mapping[str, Any]) -> Summary:
    """Bring one shard's vectors into Milvus."""
    from include.embedding_etl.run_files import parse_shard
    from include.embedding_etl.stages.sync import sync as run_sync
    from include.embedding_etl.steps.lineage import tell_lineage

    shard = str(embedded["shard"])
    task_context()["shard"] = shard
    lane, _ = parse_shard(shard)
    count_retry(pipeline, lane, "sync")
    with open_runtime(pipeline) as runtime:
        figures = run_sync(runtime, run_id(), shard)
        tell_lineage(runtime, shard)
    send_synced(pipeline, lane, figures)
    return {"shard": shard, **figures}


def weigh_deletes(pipeline: str) -> str:
    """Branch: a person is asked where more objects vanished at once than the thresholds allow.

    Only one run of a pipeline asks at a time; the others go on without deleting anything, and say so. A run that asks
    gives its turn away, so that scheduled runs go on meanwhile.
    """
    from include.embedding_etl.deletions import pending_approval
    from include.embedding_etl.run_files import listed_prefix
    from include.embedding_etl.turn import give_turn_back, may_ask_about_deletes

    with open_runtime(pipeline) as runtime:
        lanes = pending_approval(runtime, listed_prefix(runtime, run_id()))
        doomed = max((deletions.doomed for deletions in lanes), default=0)
        hours = runtime.pipeline.thresholds.ask_about_deletes_h
        if doomed <= int(param("approve_deletes") or 0) or not may_ask_about_deletes(runtime, run_id(), hours):
            return "purge"
        task_context()["ti"].xcom_push("doomed", doomed)
        give_turn_back(runtime, run_id())
    return "approve_deletes"


def deletes_question(pipeline: str, prefix: str = "") -> str:
    """What the person reads who is asked: how many, of how many, and the first of them."""
    from include.embedding_etl.deletions import describe_deletions, pending_approval

    with open_runtime(pipeline) as runtime:
        return describe_deletions(runtime.pipeline.source.uri, pending_approval(runtime, prefix))


def purge(pipeline: str) -> Summary:
    """Delete the rows of objects that are gone.

    Raises:
        IntegrityError: too many vanished at once, and nobody has approved it.
    """
    from include.embedding_etl.stages.purge import purge as run_purge
    from include.embedding_etl.turn import stop_asking_about_deletes, take_turn

    ti, approved = task_context()["ti"], int(param("approve_deletes") or 0)
    answer = ti.xcom_pull(task_ids="approve_deletes")
    with open_runtime(pipeline) as runtime:
        if answer:
            take_turn(runtime, run_id(), TURN_WAIT_S, _prefix())
            stop_asking_about_deletes(runtime, run_id())
            doomed = int(ti.xcom_pull(task_ids="weigh_deletes", key="doomed"))
            if answer["chosen_options"] != [DELETE_ROWS]:
                who = (answer.get("responded_by_user") or {}).get("name") or "nobody answered in time, so the default"
                raise IntegrityError(f"The rows of {doomed} vanished objects stay: {who} chose {KEEP_ROWS!r}.")
            approved = max(approved, doomed)
        return dict(run_purge(runtime, run_id(), approved))


def report(pipeline: str) -> Summary:
    """Count storage, ledger and Milvus again.

    Raises:
        IntegrityError: they do not agree, a task failed, or too many objects did. The run is red.
    """
    from include.embedding_etl.stages.report import report as run_report

    with open_runtime(pipeline) as runtime:
        result = run_report(runtime, run_id(), failed_tasks())
        send_state(runtime)
    if not result.green:
        raise IntegrityError("This run is not done:\n" + "\n".join(f"- {problem}" for problem in result.problems))
    lanes = {
        lane: {
            "objects": figures.objects,
            "rows": figures.rows_milvus,
            "rows_upserted": figures.figures["rows"],
            "rows_deleted": figures.figures["rows_deleted"] + figures.figures["stale_deleted"],
            "dead_letters": figures.dead_letters,
        }
        for lane, figures in result.lanes.items()
    }
    for asset, event in _outlet_events():
        event.extra = {**lanes[asset], "prefix": result.prefix}
    if result.prefix:
        print(f"Green for the keys below {result.prefix!r} only: nothing is said about others.")  # noqa: T201
    return {"objects": result.listed, "lanes": {lane: figures["rows"] for lane, figures in lanes.items()}}


def _prefix() -> str:
    """What the run is about: only objects whose keys begin so; "" = all."""
    return str(param("prefix") or "")


def _outlet_events() -> list[tuple[str, Any]]:
    """(lane, event) of every asset that the running task produces."""
    context = task_context()
    return [(str(asset.extra["lane"]), context["outlet_events"][asset]) for asset in context["task"].outlets]
