"""Go back to an earlier collection of a lane: bring it up to date with its own model, then switch the alias."""

from datetime import datetime

from airflow.sdk import DAG, Param

from include.embedding_etl.steps.dag_defaults import default_args, valid_pipelines
from include.embedding_etl.steps.notifications import tell_failure
from include.embedding_etl.steps.reindex_graph import MACROS, form, reindex_tasks

DOC = """Converges an earlier collection with the settings it was built with, verifies it, and switches the alias back.

Possible while the collection has not been dropped: its grace time is part of the reindex's form, and
`etl collections list <pipeline>` shows what there is. Nothing changes for readers until `cut_over`.
"""

pipelines = valid_pipelines()
if pipelines:
    common = form(pipelines)
    with DAG(
        dag_id="rollback",
        description="Back to an earlier collection of one lane, without downtime",
        doc_md=DOC,
        schedule=None,
        start_date=datetime(2024, 1, 1),
        catchup=False,
        tags=["embedding-etl", "reindex"],
        params={
            "pipeline": common["pipeline"],
            "lane": common["lane"],
            "earlier": Param(
                "",
                type="string",
                title="Earlier collection",
                description="Its real name, from `etl collections list`. Empty: the one that was live before.",
            ),
            "grace_hours": common["grace_hours"],
        },
        default_args=default_args(),
        user_defined_macros=MACROS,
        on_failure_callback=tell_failure,
    ):
        reindex_tasks(pipelines)
