"""Figures of task code through Airflow's own metrics: statsd or OpenTelemetry, whichever Airflow is set up with.

Where metrics are off, Airflow drops them. Nothing here fails a task: a figure that cannot be had is a line in the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from include.embedding_etl.errors import EmbeddingEtlError
from include.embedding_etl.metric_catalogue import (
    CUTOVERS,
    EMBEDDED_CHUNKS,
    MODEL_SECONDS,
    RETRIES,
    REUSED_CHUNKS,
    ROWS_WRITTEN,
    Metric,
    Sample,
)
from include.embedding_etl.steps.task_context import task_context

if TYPE_CHECKING:
    from include.embedding_etl.runtime import Runtime
    from include.embedding_etl.stage_figures import Figures

log = structlog.get_logger()


def count_retry(pipeline: str, lane: str, step: str) -> None:
    """Called at the beginning of a step: an attempt that fails again counts too."""
    if task_context()["ti"].try_number > 1:
        send(Sample(RETRIES, 1, {"pipeline": pipeline, "lane": lane, "step": step}))


def send_embedded(pipeline: str, lane: str, figures: Figures) -> None:
    """At the end of embed."""
    _count(pipeline, lane, EMBEDDED_CHUNKS, figures["chunks"])
    _count(pipeline, lane, REUSED_CHUNKS, figures["reused_chunks"])
    _count(pipeline, lane, MODEL_SECONDS, figures.model_s)


def send_synced(pipeline: str, lane: str, figures: Figures) -> None:
    """At the end of sync."""
    _count(pipeline, lane, ROWS_WRITTEN, figures["rows"])


def send_cutover(pipeline: str, lane: str) -> None:
    """At the end of cut_over."""
    _count(pipeline, lane, CUTOVERS, 1)


def send_state(runtime: Runtime) -> None:
    """At the end of report, of green runs and red ones: all gauges of the pipeline."""
    from include.embedding_etl.status.measurements import measure_state

    try:
        for sample in measure_state(runtime):
            send(sample)
    except EmbeddingEtlError as error:
        log.warning("metrics were not sent", pipeline=runtime.pipeline.name, reason=str(error))


def send(sample: Sample) -> None:
    """One figure."""
    from airflow.sdk.observability import stats

    if sample.metric.kind == "gauge":
        stats.gauge(sample.metric.name, sample.value, tags=dict(sample.labels))
    else:
        count: Any = sample.value  # all backends take fractions, whatever the annotation says
        stats.incr(sample.metric.name, count, tags=dict(sample.labels))


def _count(pipeline: str, lane: str, metric: Metric, value: float) -> None:
    if value:
        send(Sample(metric, value, {"pipeline": pipeline, "lane": lane}))
