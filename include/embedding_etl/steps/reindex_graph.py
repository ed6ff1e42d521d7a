"""The tasks that `reindex` and `rollback` share. Imported by DAG files only, inside a `with DAG(...)`."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, task, task_group

from include.embedding_etl.settings import PipelineSettings
from include.embedding_etl.steps import ingest, reindex
from include.embedding_etl.steps.dag_defaults import queue_name
from include.embedding_etl.steps.object_link import link_objects

PIPELINE = "{{ params.pipeline }}"
MACROS = {"approval_question": reindex.approval_question}


def reindex_tasks(pipelines: list[PipelineSettings]) -> None:
    """Plan → begin → scan → route → shards of embed → sync → catch_up → verify → approve → cut_over → report.

    The form says which lane, but Airflow fixes a task's queue and pool when it reads this file. So the tasks that may
    load the lane's model exist once for every place that a lane names (`build_gpu`), and a branch takes the lane's.
    """
    places = _places(pipelines)
    prepared = task(reindex.plan)(PIPELINE) >> task(reindex.begin)(PIPELINE) >> task(reindex.scan)(PIPELINE)
    builds = {place: _build(pipelines, place) for place in places}
    verified = task(trigger_rule="all_success" if len(places) == 1 else "none_failed_min_one_success")(reindex.verify)(
        PIPELINE
    )
    switched = {
        # After an approval, and where none was asked for.
        place: task(task_id=f"cut_over{place}", queue=queue, trigger_rule="none_failed")(reindex.cut_over)(PIPELINE)
        for place, queue in places.items()
    }
    if len(places) == 1:
        (only,) = places
        prepared >> builds[only].first
        switch, switch_id = switched[only], f"cut_over{only}"
    else:
        # The branch is right above catch_up too: it runs whether there were shards or not, but not in another place.
        at = _places_of_lanes(pipelines)
        (
            prepared
            >> task.branch(task_id="choose_place")(reindex.choose_place)(at, ["route", "catch_up"])
            >> [each for build in builds.values() for each in (build.first, build.last)]
        )
        switch_id = "choose_place_again"
        switch = task.branch(task_id=switch_id, trigger_rule="none_failed")(reindex.choose_place)(at, ["cut_over"])
        switch >> list(switched.values())
    asked = task.branch(reindex.needs_approval)(PIPELINE, switch_id)
    approved = ApprovalOperator(
        task_id="approve",
        subject="{{ params.pipeline }}, lane {{ params.lane }}: let readers see the new collection?",
        body="{{ approval_question(params.pipeline) }}",
        fail_on_reject=True,
        response_timeout=timedelta(hours=reindex.APPROVAL_HOURS),
        retries=0,  # no means no
    )
    # The last task must run and must raise: it is what makes a run green or red.
    reported = task(trigger_rule="all_done")(reindex.report)(PIPELINE)
    [build.last for build in builds.values()] >> verified >> asked >> approved >> switch
    asked >> switch
    list(switched.values()) >> reported


@dataclass(frozen=True)
class _Build:
    first: Any  # the task that cuts the shards
    last: Any  # the task that catches up


def _build(pipelines: list[PipelineSettings], place: str) -> _Build:
    """The tasks that fill the candidate, where the lane's model runs."""
    queue, pool = _places(pipelines)[place], _pool(pipelines, place)

    @task_group(group_id=f"build{place}")
    def build(shard: str) -> None:
        embed = task(queue=queue, pool=pool, map_index_template="{{ shard }}")(ingest.embed)
        sync = task(
            pool=_agreed(pipeline.pools.sync for pipeline in pipelines),
            map_index_template="{{ shard }}",
            max_active_tis_per_dagrun=1,  # whatever its pool: Milvus Lite wants one writer
        )(ingest.sync)
        link_objects(sync(PIPELINE, embed(PIPELINE, shard)))  # type: ignore[arg-type] # a reference, not yet a value

    shards = task(task_id=f"route{place}")(reindex.route)(PIPELINE)
    # A candidate that lacks nothing has no shards.
    caught_up = task(task_id=f"catch_up{place}", queue=queue, trigger_rule="none_failed")(reindex.catch_up)(PIPELINE)
    build.expand(shard=shards) >> caught_up
    return _Build(shards, caught_up)


def form(pipelines: list[PipelineSettings]) -> dict[str, Param]:
    """The fields that both forms begin with."""
    names = [pipeline.name for pipeline in pipelines]
    lanes = list(dict.fromkeys(lane for pipeline in pipelines for lane in pipeline.lanes))
    return {
        "pipeline": Param(
            names[0], type="string", enum=names, title="Pipeline", description="A file in include/pipelines/."
        ),
        "lane": Param(
            lanes[0], type="string", enum=lanes, title="Lane", description="One of the lanes of that pipeline."
        ),
        "grace_hours": Param(
            24,
            type="number",
            minimum=0,
            title="Grace time (hours)",
            description="How long the collection that is not used any more stays, for going back or for inspection.",
        ),
    }


def _places(pipelines: list[PipelineSettings]) -> dict[str, str]:
    """The queue of every place that a lane names, in the order of the files."""
    return {lane.place: queue_name(lane.queue) for pipeline in pipelines for lane in pipeline.lanes.values()}


def _places_of_lanes(pipelines: list[PipelineSettings]) -> dict[str, str]:
    return {f"{pipeline.name}/{name}": lane.place for pipeline in pipelines for name, lane in pipeline.lanes.items()}


def _pool(pipelines: list[PipelineSettings], place: str) -> str:
    return _agreed(
        pipeline.embed_pool(name)
        for pipeline in pipelines
        for name, lane in pipeline.lanes.items()
        if lane.place == place
    )


def _agreed(pools: Iterable[str]) -> str:
    """The pool that the pipelines name, where they agree on one."""
    named = set(pools) - {"default_pool"}
    return named.pop() if len(named) == 1 else "default_pool"
