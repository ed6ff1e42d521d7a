"""Reindex one lane with another model, chunker or index, without downtime. By its form, or by `etl reindex`."""

from datetime import datetime

from airflow.sdk import DAG, Param

from include.embedding_etl.steps.dag_defaults import default_args, valid_pipelines
from include.embedding_etl.steps.notifications import tell_failure
from include.embedding_etl.steps.reindex_graph import MACROS, form, reindex_tasks

DOC = """Builds a second collection beside the one that readers see, verifies it, asks a person, and switches the alias.

1. Change the lane's model, chunk or index in `include/pipelines/<pipeline>.yaml`. Ingestion goes on with the old
   settings meanwhile.
2. Trigger this DAG. Nothing changes for readers until `cut_over`.
3. Answer the question of the task `approve` (Required Actions): it shows sample searches before and after.

A run that failed or was killed can be triggered again and goes on where it stopped. To go back: DAG `rollback`.
"""

pipelines = valid_pipelines()
if pipelines:
    common = form(pipelines)
    with DAG(
        dag_id="reindex",
        description="Another model, chunker or index for one lane, without downtime",
        doc_md=DOC,
        schedule=None,
        start_date=datetime(2024, 1, 1),
        catchup=False,
        tags=["embedding-etl", "reindex"],
        params={
            "pipeline": common["pipeline"],
            "lane": common["lane"],
            "rebuild": Param(
                "vectors",
                type="string",
                enum=["vectors", "index"],
                values_display={
                    "vectors": "vectors: the settings of the pipeline file, embedding what is not stored yet",
                    "index": "index: same vectors, other index; no model is called",
                },
                title="Rebuild",
                description="What is made anew. `index` also rebuilds a collection that Milvus has lost.",
            ),
            "index": Param(
                None,
                type=["object", "null"],
                title="Index",
                description="Leave empty to take it from the pipeline file. Else such as "
                '{"type": "IVF_FLAT", "params": {"nlist": 1024}, "search": {"nprobe": 16}}.',
            ),
            "min_recall": Param(
                0.95,
                type="number",
                minimum=0,
                maximum=1,
                title="Least recall@10",
                description="Of the new index against exact search. Below it the candidate is refused.",
            ),
            "sample": Param(
                200,
                type="integer",
                minimum=1,
                maximum=10_000,
                title="Sample queries",
                description="How many stored vectors are searched for to measure the recall.",
            ),
            "approval": Param(
                True,
                type="boolean",
                title="Ask before the switch",
                description="A person sees ten searches before and after, and decides. Off: it switches if verified.",
            ),
            "grace_hours": common["grace_hours"],
        },
        default_args=default_args(),
        user_defined_macros=MACROS,
        on_failure_callback=tell_failure,
    ):
        reindex_tasks(pipelines)
