"""One DAG per include/pipelines/*.yaml: ingest__<pipeline>. Files with an error are shown by broken_pipelines.py."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow.sdk import DAG, Asset, ExceptionRetryPolicy, Param, RetryAction, RetryRule, task, task_group

from include.embedding_etl import steps
from include.embedding_etl.errors import ConfigError, IntegrityError, PoisonObject, TransientError
from include.embedding_etl.settings import PipelineSettings, Places, load_pipeline, pipeline_files

if TYPE_CHECKING:
    from airflow.sdk.definitions._internal.node import DAGNode

RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(exception=TransientError, action=RetryAction.RETRY, reason="a server had a bad moment"),
        RetryRule(
            exception=[ConfigError, IntegrityError, PoisonObject],
            action=RetryAction.FAIL,
            reason="trying again cannot help: a person has to look",
        ),
    ]
)


def ingest_dag(pipeline: PipelineSettings) -> DAG:
    """Scan → identify → per lane: route → shards of embed → sync; then purge → report."""
    name = pipeline.name
    with DAG(
        dag_id=f"ingest__{name}",
        description=pipeline.description
        or f"Keeps {len(pipeline.lanes)} Milvus collections equal to {pipeline.source.uri}",
        doc_md=describe(pipeline),
        schedule=pipeline.schedule,
        start_date=datetime(2024, 1, 1),
        catchup=False,
        max_active_runs=1,  # two runs on one collection would only wait for each other's lease
        tags=["embedding-etl", "ingest", *pipeline.tags],
        params={
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
                description="Up to how many objects may vanish at once. A run that was refused says the number.",
            ),
        },
        default_args={
            "owner": pipeline.owner,
            "retries": 5,  # 10 s, 20 s, 40 s …: longer than the lease of a run whose machine died
            "retry_delay": timedelta(seconds=10),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(minutes=5),
            "retry_policy": RETRY_POLICY,
        },
    ) as dag:
        identified = task(steps.scan)(name) >> task(steps.identify)(name)
        lanes = [lane_group(pipeline, lane) for lane in pipeline.lanes]
        # A lane without work is skipped, which is fine; a lane that failed keeps anything from being deleted.
        purged = task(trigger_rule="none_failed")(steps.purge)(name)
        # The last task must run and must raise: it is what makes a run green or red.
        assets = [asset(pipeline, lane) for lane in pipeline.lanes]
        reported = task(trigger_rule="all_done", outlets=assets)(steps.report)(name)
        identified >> lanes >> purged >> reported
        # Straight from the lanes too: when one has failed, purge ends at once, while the others are still at work.
        lanes >> reported
    return dag


def lane_group(pipeline: PipelineSettings, lane: str) -> "DAGNode":
    """route, then one embed and one sync per shard: a shard is synced as soon as it is embedded."""

    @task_group(group_id=lane, tooltip=f"{pipeline.lanes[lane].model.id} into {pipeline.alias(lane)}")
    def group() -> None:
        @task_group(group_id="shard")
        def converge_shard(shard: str) -> None:
            embed = task(pool=pipeline.pools.embed, map_index_template="{{ shard }}")(steps.embed)
            sync = task(pool=pipeline.pools.sync, map_index_template="{{ shard }}")(steps.sync)
            sync(pipeline.name, embed(pipeline.name, shard))  # type: ignore[arg-type] # a reference, not yet a value

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


for file in pipeline_files(Places().pipelines_dir):
    try:
        settings = load_pipeline(file)
    except ConfigError:
        continue  # dags/broken_pipelines.py shows it as an import error
    globals()[f"ingest__{settings.name}"] = ingest_dag(settings)
