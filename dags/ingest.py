"""One DAG per include/pipelines/*.yaml: ingest__<pipeline>. Files with an error are shown by broken_pipelines.py."""

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, Asset, Param, task, task_group

from include.embedding_etl.settings import PipelineSettings
from include.embedding_etl.steps import ingest as steps
from include.embedding_etl.steps.dag_defaults import default_args, queue_name, valid_pipelines
from include.embedding_etl.steps.freshness_deadline import freshness_deadline
from include.embedding_etl.steps.ingest_schedule import BEGIN, ingest_schedule
from include.embedding_etl.steps.notifications import tell_failure
from include.embedding_etl.steps.object_link import link_objects

if TYPE_CHECKING:
    from airflow.sdk.definitions._internal.node import DAGNode


def ingest_dag(pipeline: PipelineSettings) -> DAG:
    """Plan → wait_for_turn → scan → identify → per lane: route → shards of embed → sync; then purge → report."""
    name = pipeline.name
    with DAG(
        dag_id=f"ingest__{name}",
        description=pipeline.description
        or f"Keeps {len(pipeline.lanes)} Milvus collections equal to {pipeline.source.uri}",
        doc_md=describe(pipeline),
        schedule=ingest_schedule(pipeline),
        start_date=BEGIN,
        catchup=False,
        max_active_runs=2,  # one that waits for a person, and one at work: see wait_for_turn
        tags=["embedding-etl", "ingest", *pipeline.tags],
        params={
            "dry_run": Param(
                False,
                type="boolean",
                title="Dry run",
                description="Only say what a run would do and cost: see the log of the task `plan`. Changes nothing.",
            ),
            "prefix": Param(
                "",
                type="string",
                maxLength=1024,
                title="Only keys below",
                description="Index only the objects whose keys begin so, as the pages show keys: docs/2024/. Nothing "
                "outside is touched, and the run does not count as one of the whole source. Empty: everything.",
            ),
            "rewrite": Param(
                [],
                type="array",
                items={"type": "string", "enum": list(pipeline.lanes)},
                uniqueItems=True,
                title="Lanes to write again",
                description="Writes every row of these lanes again from stored vectors, without calling the model.",
            ),
            "approve_deletes": Param(
                0,
                type="integer",
                minimum=0,
                title="Approved deletions",
                description="Up to how many objects may vanish at once without the run asking anybody.",
            ),
        },
        default_args=default_args(pipeline.owner),
        user_defined_macros={"deletes_question": steps.deletes_question},
        on_failure_callback=tell_failure,
        deadline=freshness_deadline(pipeline),
    ) as dag:
        planned = task.short_circuit(steps.plan)(name)
        turn = task.sensor(mode="reschedule", poke_interval=15, timeout=24 * 3600)(steps.wait_for_turn)(name)
        identified = planned >> turn >> task(steps.scan)(name) >> task(steps.identify)(name)
        lanes = [lane_group(pipeline, lane) for lane in pipeline.lanes]
        # A lane without work is skipped, which is fine; a lane that failed keeps anything from being deleted.
        weighed = task.branch(trigger_rule="none_failed")(steps.weigh_deletes)(name)
        asked = HITLOperator(
            task_id="approve_deletes",
            subject=f"{name}: delete the rows of objects that vanished?",
            body=f"{{{{ deletes_question({name!r}, params.prefix) }}}}",
            options=[steps.KEEP_ROWS, steps.DELETE_ROWS],
            defaults=steps.KEEP_ROWS,
            response_timeout=timedelta(hours=pipeline.thresholds.ask_about_deletes_h or 1),
            retries=0,  # asking again is the next run's business
        )
        purged = task(trigger_rule="none_failed")(steps.purge)(name)
        # The last task must run and must raise: it is what makes a run green or red.
        assets = [asset(pipeline, lane) for lane in pipeline.lanes]
        reported = task(trigger_rule="all_done", outlets=assets)(steps.report)(name)
        identified >> lanes >> weighed >> asked >> purged >> reported
        weighed >> purged
        # Straight from the lanes too: when one has failed, purge ends at once, while the others are still at work.
        lanes >> reported
    return dag


def lane_group(pipeline: PipelineSettings, lane: str) -> "DAGNode":
    """route, then one embed and one sync per shard: a shard is synced as soon as it is embedded."""

    @task_group(group_id=lane, tooltip=f"{pipeline.lanes[lane].model.id} into {pipeline.alias(lane)}")
    def group() -> None:
        @task_group(group_id="shard")
        def converge_shard(shard: str) -> None:
            # Only this task loads the lane's model: it alone goes where the model runs.
            embed = task(
                queue=queue_name(pipeline.lanes[lane].queue),
                pool=pipeline.embed_pool(lane),
                map_index_template="{{ shard }}",
            )(steps.embed)
            sync = task(pool=pipeline.pools.sync, map_index_template="{{ shard }}")(steps.sync)
            link_objects(sync(pipeline.name, embed(pipeline.name, shard)))  # type: ignore[arg-type] # a reference, not yet a value

        converge_shard.expand(shard=task(steps.route)(pipeline.name, lane))

    return group()


def asset(pipeline: PipelineSettings, lane: str) -> Asset:
    """The lane's alias, for DAGs that want to run after it has changed."""
    alias = pipeline.alias(lane)
    return Asset(name=alias, uri=f"milvus://embedding-etl/{alias}", extra={"lane": lane})


def describe(pipeline: PipelineSettings) -> str:
    """The DAG's documentation page."""
    lanes = "\n".join(
        f"| {lane} | {', '.join(settings.accepts)} | {settings.model.id} | `{pipeline.alias(lane)}` |"
        for lane, settings in pipeline.lanes.items()
    )
    return f"""{pipeline.description}

Makes the Milvus collections below equal to `{pipeline.source.uri}`. The run is green only if storage, ledger and Milvus
agree; the log of `report` says what does not. Objects that cannot be processed become dead letters and do not stop it.

| lane | accepts | model | alias to search |
|---|---|---|---|
{lanes}
"""


for settings in valid_pipelines():
    globals()[f"ingest__{settings.name}"] = ingest_dag(settings)
