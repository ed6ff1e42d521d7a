"""Sends notices to the destinations of a pipeline file, through Airflow's notifiers. Addresses are never logged.

`tell_failure` is a DAG's on_failure_callback: Airflow calls it once a run, in the DAG processor, which can import this
module but must not be given functions of a DAG file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import structlog

from include.embedding_etl.errors import ConfigError, EmbeddingEtlError, IntegrityError, TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from include.embedding_etl.runtime import Runtime
    from include.embedding_etl.status.notices import Notice

log = structlog.get_logger()
INGEST = "ingest__"


def tell_failure(context: Mapping[str, Any]) -> None:
    """Tell those whom the pipeline file names under `notify.on_failure` that a run has failed.

    Raises:
        EmbeddingEtlError: not all of them could be told. Airflow logs it; the run is red anyway.
    """
    from include.embedding_etl.status.notices import failure_notice

    dag_id, dag_run_id = context["dag"].dag_id, str(context["run_id"])
    name = _pipeline_of(context)
    if not name:
        log.warning("nobody was told: the run names no pipeline", dag_id=dag_id, run_id=dag_run_id)
        return
    with open_ledger(name) as runtime:
        destinations = runtime.pipeline.notify.on_failure
        if destinations:
            notice = failure_notice(runtime, dag_id, f"{dag_id}/{dag_run_id}", links(name, dag_id, dag_run_id))
            deliver(notice, destinations)


def send_digest(pipeline: str) -> None:
    """Task: tell once a day how a pipeline stands.

    Raises:
        EmbeddingEtlError: not all destinations could be told.
    """
    from include.embedding_etl.status.notices import digest_notice
    from include.embedding_etl.steps.task_context import open_runtime

    with open_runtime(pipeline) as runtime:
        notify = runtime.pipeline.notify
        notice = digest_notice(runtime, links(pipeline, f"{INGEST}{pipeline}", ""))
    deliver(notice, notify.digest_to or notify.on_failure)


def open_ledger(pipeline: str) -> Runtime:
    """A pipeline's parts where no task runs: of these only the ledger is used, so no connection is asked for."""
    from include.embedding_etl.pipeline_files import find_pipeline
    from include.embedding_etl.places import Places
    from include.embedding_etl.runtime import Runtime

    places = Places()
    return Runtime(find_pipeline(places.pipelines_dir, pipeline), places)


def deliver(notice: Notice, destinations: Sequence[str]) -> None:
    """Send one notice everywhere; a destination that fails keeps no other from being told.

    Raises:
        TransientError: nobody could be told; trying again tells nobody twice.
        IntegrityError: some could be told, others not; the message names those, not their addresses.
        ConfigError: nobody could be told, and all because of their settings.
    """
    from include.embedding_etl.steps.notifiers import notifier_for

    failures: list[EmbeddingEtlError] = []
    for destination in destinations:
        try:
            notifier_for(destination).send(notice)
        except EmbeddingEtlError as error:
            failures.append(error)
    if not failures:
        return
    message = "\n".join(str(failure) for failure in failures)
    if len(failures) < len(destinations):
        raise IntegrityError(f"Not everybody was told:\n{message}")
    kind = ConfigError if all(isinstance(failure, ConfigError) for failure in failures) else TransientError
    raise kind(f"Nobody was told:\n{message}")


def links(pipeline: str, dag_id: str, dag_run_id: str) -> list[str]:
    """Where to look: the run, or the DAG where no run is meant, and what cannot be processed."""
    from airflow.sdk.configuration import conf

    base = conf.get("api", "base_url", fallback="").rstrip("/")
    run = f"/runs/{quote(dag_run_id, safe='')}" if dag_run_id else ""
    return [
        f"{'Run' if run else 'DAG'}: {base}/dags/{quote(dag_id)}{run}",
        f"Failures: {base}/embedding-etl/failures?pipeline={quote(pipeline)}",
    ]


def _pipeline_of(context: Mapping[str, Any]) -> str:
    """By the DAG's name, else by the form that the run was triggered with."""
    dag_id = str(context["dag"].dag_id)
    if dag_id.startswith(INGEST):
        return dag_id.removeprefix(INGEST)
    conf = getattr(context.get("dag_run"), "conf", None) or {}
    form = context.get("params") or {}
    return str(conf.get("pipeline") or form.get("pipeline") or "")
