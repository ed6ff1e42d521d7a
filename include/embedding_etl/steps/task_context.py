"""What a running task knows: its parameters, its run's id, and the pipeline's parts behind Airflow's connections."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from include.embedding_etl.places import Places
    from include.embedding_etl.runtime import Runtime
    from include.embedding_etl.settings import PipelineSettings

Summary = dict[str, Any]


def task_context() -> Any:
    """Airflow's own."""
    from airflow.sdk import get_current_context

    return get_current_context()


def param(name: str) -> Any:
    """A value of the form that the run was triggered with."""
    return task_context()["params"][name]


def run_id() -> str:
    """Unique over all DAGs: scheduled runs of two pipelines have the same run id."""
    context = task_context()
    return f"{context['dag'].dag_id}/{context['run_id']}"


def open_runtime(pipeline_name: str) -> Runtime:
    """The pipeline's parts, with the addresses and secrets of its Airflow connections.

    Raises:
        ConfigError: another worker would not see what this one writes.
    """
    from include.embedding_etl.places import Places
    from include.embedding_etl.threads import limit_threads

    places = Places()
    limit_threads(places)  # before anything that starts threads is imported
    from include.embedding_etl.runtime import Runtime
    from include.embedding_etl.steps.connections import milvus_address, s3_credentials

    pipeline = checked_pipeline(pipeline_name, places)
    source, milvus = pipeline.source.connection_id, pipeline.milvus.connection_id
    return Runtime(
        pipeline,
        places,
        credentials=s3_credentials(source) if source else None,
        milvus=milvus_address(milvus) if milvus else None,
        has_ended=has_ended,
    )


def checked_pipeline(pipeline_name: str, places: Places) -> PipelineSettings:
    """The pipeline file, for an Airflow whose workers all see the same ledger, state and source.

    Raises:
        ConfigError: there is none, or they do not.
    """
    from include.embedding_etl.pipeline_files import find_pipeline
    from include.embedding_etl.steps.shared_places import require_shared_places

    pipeline = find_pipeline(places.pipelines_dir, pipeline_name)
    require_shared_places(pipeline, places)
    return pipeline


def failed_tasks() -> list[str]:
    """What the run's tasks say that failed for good, a sentence each."""
    context = task_context()
    dag_run = context["run_id"]
    states = context["ti"].get_task_states(dag_id=context["dag"].dag_id, run_ids=[dag_run])
    failed = sorted(task for task, state in states.get(dag_run, {}).items() if state == "failed")
    return [f"the task {task} failed: its log says why" for task in failed]


def has_ended(owner: str) -> bool | None:
    """Whether a run is over, by Airflow's word: nobody need wait for a lease of the dead. None = nobody knows."""
    from airflow.sdk.api.client import ServerResponseError
    from airflow.sdk.exceptions import AirflowRuntimeError

    dag_id, separator, dag_run_id = owner.partition("/")
    if not separator:
        return None  # not a run of Airflow's
    try:
        state = task_context()["ti"].get_dagrun_state(dag_id, dag_run_id)
    except AirflowRuntimeError as error:
        status = (error.error.detail or {}).get("status_code")
    except ServerResponseError as error:  # in `airflow dags test` nothing stands between the task and the server
        status = error.response.status_code
    else:
        return state in ("success", "failed")  # an Enum of strings: its str() is another word
    # It was deleted, and its tasks with it. Whatever else went wrong: the lease expires in its own time.
    return True if status == HTTPStatus.NOT_FOUND else None
