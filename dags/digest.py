"""Once a day, of every pipeline whose file says `notify: {digest: daily}`: how it stands, to whom it names."""

from datetime import datetime

from airflow.sdk import DAG, task

from include.embedding_etl.steps import notifications as steps
from include.embedding_etl.steps.dag_defaults import default_args, valid_pipelines

DOC = """Sends one message a pipeline: objects by state, what was new, changed and failed in the last 24 hours, dead
letters by class, whether storage, ledger and Milvus agree, the last audit, and the freshness. docs/monitoring.md says
how to set it up. Trigger it to get one now.
"""

pipelines = [pipeline for pipeline in valid_pipelines() if pipeline.notify.digest == "daily"]
if pipelines:
    with DAG(
        dag_id="digest",
        description="Tells once a day how the pipelines stand",
        doc_md=DOC,
        schedule="0 6 * * *",
        start_date=datetime(2024, 1, 1),
        catchup=False,
        tags=["embedding-etl", "monitoring"],
        default_args=default_args(),
    ):
        for pipeline in pipelines:
            task(task_id=pipeline.name)(steps.send_digest)(pipeline.name)
