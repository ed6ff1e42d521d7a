"""What a running task knows: its parameters, its run's id, and the pipeline's parts behind Airflow's connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from include.embedding_etl.runtime import Runtime

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
    """The pipeline's parts, with the addresses and secrets of its Airflow connections."""
    from include.embedding_etl.runtime import Runtime
    from include.embedding_etl.settings import Places, find_pipeline
    from include.embedding_etl.steps.connections import milvus_address, s3_credentials

    places = Places()
    pipeline = find_pipeline(places.pipelines_dir, pipeline_name)
    source, milvus = pipeline.source.connection_id, pipeline.milvus.connection_id
    return Runtime(
        pipeline,
        places,
        credentials=s3_credentials(source) if source else None,
        milvus=milvus_address(milvus) if milvus else None,
        has_ended=has_ended,
    )


def failed_tasks() -> list[str]:
    """What the run's tasks say that failed for good, a sentence each."""
    context = task_context()
    dag_run = context["run_id"]
    states = context["ti"].get_task_states(dag_id=context["dag"].dag_id, run_ids=[dag_run])
    failed = sorted(task for task, state in states.get(dag_run, {}).items() if state == "failed")
    return [f"the task {task} failed: its log says why" for task in failed]


def has_ended(owner: str) -> bool:
    """Whether a run that holds a lease is over, by Airflow's word: nobody need wait for a lease of the dead."""
    from airflow.sdk.exceptions import AirflowRuntimeError

    dag_id, separator, dag_run_id = owner.partition("/")
    if not separator:
        return False  # not a run of Airflow's
    try:
        state = task_context()["ti"].get_dagrun_state(dag_id, dag_run_id)
    except AirflowRuntimeError:
        return False  # nobody knows; the lease expires in its own time
    return state in ("success", "failed")  # an Enum of strings: its str() is another word
