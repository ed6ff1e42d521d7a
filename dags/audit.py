"""Compare storage, ledger and Milvus every day, for every pipeline; mend it by the form; clear up what is due."""

from datetime import datetime
from typing import TYPE_CHECKING

from airflow.sdk import DAG, Param, task, task_group

from include.embedding_etl.settings import PipelineSettings
from include.embedding_etl.steps import audit as steps
from include.embedding_etl.steps.dag_defaults import default_args, valid_pipelines

if TYPE_CHECKING:
    from airflow.sdk.definitions._internal.node import DAGNode

DOC = """Compares what storage holds, what the ledger claims and what Milvus has, row by row, and the vectors with those
in the embedding store. Ingestion may go on meanwhile.

- Red: there are more faults than `max_audit_faults` allows. The log of `report` has the table.
- To mend it: trigger this DAG with `repair`. Everything is written again from stored vectors, and compared once more.
- What is pending (new, changed and vanished objects) is no fault: the next ingestion does it.

Each run also drops what nobody needs any more: collections after their grace time, vectors of fingerprints that no
collection uses, files of old runs. On the command line: `etl audit <pipeline> [--repair]`.
"""


def audit_group(pipeline: PipelineSettings) -> "DAGNode":
    """is_wanted → compare → (repair → compare_again) → clear_up → report."""
    name = pipeline.name

    @task_group(group_id=name, tooltip=pipeline.description)
    def group() -> None:
        compared = task(steps.compare)(name)
        asked = task.branch(steps.needs_repair)(name, compared)  # type: ignore[arg-type] # a reference, not yet a value
        repaired = task(pool=pipeline.pools.sync)(steps.repair)(name)
        again = task(task_id="compare_again")(steps.compare)(name)
        cleared = task(trigger_rule="none_failed")(steps.clear_up)(name)
        # The last task must raise: it is what makes a run green or red.
        reported = task(trigger_rule="none_failed")(steps.report)(name)
        task.short_circuit(steps.is_wanted)(name) >> compared >> asked >> repaired >> again >> cleared >> reported
        asked >> cleared

    return group()


pipelines = valid_pipelines()
if pipelines:
    with DAG(
        dag_id="audit",
        description="Are the indexes right? Compares storage, ledger and Milvus; repairs; clears up",
        doc_md=DOC,
        schedule="@daily",
        start_date=datetime(2024, 1, 1),
        catchup=False,
        max_active_runs=1,
        tags=["embedding-etl", "audit"],
        params={
            "pipeline": Param(
                steps.ALL_PIPELINES,
                type="string",
                enum=[steps.ALL_PIPELINES, *(pipeline.name for pipeline in pipelines)],
                title="Pipeline",
                description="All that were ever ingested, or one file in include/pipelines/.",
            ),
            "repair": Param(
                False,
                type="boolean",
                title="Repair",
                description="Mends what differs, mostly from stored vectors, and compares again. Ingestion waits.",
            ),
            "approve_deletes": Param(
                0,
                type="integer",
                minimum=0,
                title="Approved deletions",
                description="With repair: up to how many objects, or rows that are not ours, may go at once.",
            ),
        },
        default_args=default_args(),
    ):
        for settings in pipelines:
            audit_group(settings)
