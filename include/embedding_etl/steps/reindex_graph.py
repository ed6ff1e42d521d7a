"""The tasks that `reindex` and `rollback` share. Imported by DAG files only, inside a `with DAG(...)`."""

from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, task, task_group

from include.embedding_etl.settings import PipelineSettings
from include.embedding_etl.steps import ingest, reindex
from include.embedding_etl.steps.object_link import link_objects

PIPELINE = "{{ params.pipeline }}"
MACROS = {"approval_question": reindex.approval_question}


def reindex_tasks(pipelines: list[PipelineSettings]) -> None:
    """Plan → begin → scan → route → shards of embed → sync → catch_up → verify → approve → cut_over → report."""
    prepared = task(reindex.plan)(PIPELINE) >> task(reindex.begin)(PIPELINE) >> task(reindex.scan)(PIPELINE)
    shards = task(reindex.route)(PIPELINE)

    @task_group(group_id="build")
    def build(shard: str) -> None:
        embed = task(pool=_pool(pipelines, "embed"), map_index_template="{{ shard }}")(ingest.embed)
        sync = task(pool=_pool(pipelines, "sync"), map_index_template="{{ shard }}", max_active_tis_per_dagrun=1)(
            ingest.sync
        )
        link_objects(sync(PIPELINE, embed(PIPELINE, shard)))  # type: ignore[arg-type] # a reference, not yet a value

    built = build.expand(shard=shards)
    # A candidate that lacks nothing has no shards.
    caught_up = task(trigger_rule="none_failed")(reindex.catch_up)(PIPELINE)
    verified = task(reindex.verify)(PIPELINE)
    asked = task.branch(reindex.needs_approval)(PIPELINE)
    approved = ApprovalOperator(
        task_id="approve",
        subject="{{ params.pipeline }}, lane {{ params.lane }}: let readers see the new collection?",
        body="{{ approval_question(params.pipeline) }}",
        fail_on_reject=True,
        response_timeout=timedelta(hours=reindex.APPROVAL_HOURS),
        retries=0,  # no means no
    )
    switched = task(trigger_rule="none_failed")(reindex.cut_over)(PIPELINE)
    # The last task must run and must raise: it is what makes a run green or red.
    reported = task(trigger_rule="all_done")(reindex.report)(PIPELINE)
    prepared >> shards
    built >> caught_up >> verified >> asked >> approved >> switched >> reported
    asked >> switched


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


def _pool(pipelines: list[PipelineSettings], which: str) -> str:
    """The pool that the pipelines name, where they agree on one."""
    named = {getattr(pipeline.pools, which) for pipeline in pipelines} - {"default_pool"}
    return named.pop() if len(named) == 1 else "default_pool"
