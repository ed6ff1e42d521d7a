"""A pipeline that misses its freshness target is told of by Airflow's deadline alerts.

The deadline runs from when a run is queued, and is over when the run is green: so it also sees runs that hang, wait for
a turn, or fail. The callback looks at the ledger before it tells anybody, since a later run may have done the work.
It lives here because the triggerer cannot import DAG files.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from include.embedding_etl.errors import TransientError

if TYPE_CHECKING:
    from airflow.sdk.definitions.deadline import DeadlineAlert

    from include.embedding_etl.settings import PipelineSettings


def freshness_deadline(pipeline: PipelineSettings) -> DeadlineAlert | None:
    """The deadline of the pipeline's ingestion, if it has a target and somebody to tell."""
    if pipeline.freshness_target_h is None or not pipeline.notify.on_failure:
        return None
    from airflow.sdk.definitions.callback import AsyncCallback
    from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=pipeline.freshness_target_h),
        # In the triggerer, whatever the executor: Celery's runs no callbacks.
        callback=AsyncCallback(tell_missed_freshness, kwargs={"pipeline": pipeline.name}),
    )


async def tell_missed_freshness(pipeline: str) -> None:
    """Airflow's callback; the work is done in a thread, since the triggerer's loop must not wait."""
    from asgiref.sync import sync_to_async

    await sync_to_async(check_freshness, thread_sensitive=False)(pipeline)


def check_freshness(pipeline: str) -> bool:
    """Tell those of `notify.on_failure` if the target is missed, once per length of the target however many runs miss.

    Returns:
        Whether somebody was told.
    """
    from include.embedding_etl.status.notices import freshness_notice, freshness_problem
    from include.embedding_etl.steps.notifications import INGEST, deliver, links, open_ledger

    with open_ledger(pipeline) as runtime:
        problem, target_h = freshness_problem(runtime), runtime.pipeline.freshness_target_h
        if not problem or target_h is None:
            return False
        try:
            runtime.lease(f"freshness alert of {pipeline}", f"alert {uuid4()}", ttl_s=target_h * 3600)
        except TransientError:
            return False  # told not long ago
        notice = freshness_notice(runtime, problem, links(pipeline, f"{INGEST}{pipeline}", ""))
        deliver(notice, runtime.pipeline.notify.on_failure)
    return True
