"""Metrics for Prometheus, in its text format, behind the same guard as the pages: scrape with a bearer token."""

from collections.abc import Iterable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from include.embedding_etl.errors import EmbeddingEtlError
from include.embedding_etl.metric_catalogue import METRICS, Sample
from include.embedding_etl.status.measurements import measure_state, measure_work
from include.embedding_etl.status.site import site_of

router = APIRouter()
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@router.get("/metrics")
def metrics(request: Request) -> PlainTextResponse:
    """All pipelines. One whose ledger does not answer is left out, and `embedding_etl_scrape_failed` says so."""
    site = site_of(request)
    pipelines, problems = site.pipelines()
    samples: list[Sample] = []
    failed = len(problems)
    for pipeline in pipelines:
        try:
            with site.opened(pipeline) as runtime:
                samples += [*measure_state(runtime), *measure_work(runtime)]
        except EmbeddingEtlError:
            failed += 1
    lines = [
        *exposition(samples),
        "# HELP embedding_etl_scrape_failed Pipelines of which nothing can be said now",
        "# TYPE embedding_etl_scrape_failed gauge",
        f"embedding_etl_scrape_failed {failed}",
    ]
    return PlainTextResponse("\n".join(lines) + "\n", media_type=CONTENT_TYPE)


def exposition(samples: Iterable[Sample]) -> list[str]:
    """The samples as lines of Prometheus' text format, grouped by metric as it demands."""
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.metric.name, []).append(sample)
    lines = []
    for metric in METRICS:
        if found := by_name.get(metric.name):
            meaning = metric.meaning.replace("\\", r"\\").replace("\n", r"\n")
            lines += [
                f"# HELP {metric.prometheus_name} {meaning}",
                f"# TYPE {metric.prometheus_name} {metric.kind}",
                *(f"{metric.prometheus_name}{{{_labels(sample)}}} {_figure(sample.value)}" for sample in found),
            ]
    return lines


def _labels(sample: Sample) -> str:
    return ",".join(f'{name}="{sample.labels[name].translate(_ESCAPES)}"' for name in sample.metric.labels)


def _figure(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
