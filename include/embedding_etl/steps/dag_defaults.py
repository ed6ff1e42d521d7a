"""What all our DAGs have in common. Imported by DAG files only: it costs an import of Airflow."""

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.configuration import conf

from include.embedding_etl.errors import ConfigError, IntegrityError, PoisonObject, TransientError
from include.embedding_etl.pipeline_files import load_pipeline, pipeline_files
from include.embedding_etl.places import Places
from include.embedding_etl.settings import PipelineSettings

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


def default_args(owner: str = "embedding-etl") -> dict[str, Any]:
    """Retries that outlast the lease of a run whose machine died: 10 s, 20 s, 40 s …"""
    return {
        "owner": owner,
        "retries": 5,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=5),
        "retry_policy": RETRY_POLICY,
    }


def queue_name(queue: str | None) -> str:
    """The queue that a lane names, else Airflow's own default: it knows no None."""
    return queue or str(conf.get("operators", "default_queue"))


def valid_pipelines() -> list[PipelineSettings]:
    """Those whose files have no error; dags/broken_pipelines.py shows the others."""
    found = []
    for file in pipeline_files(Places().pipelines_dir):
        try:
            found.append(load_pipeline(file))
        except ConfigError:
            continue
    return found
