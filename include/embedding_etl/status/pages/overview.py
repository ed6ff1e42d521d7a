"""Overview: per pipeline and lane, what is indexed, whether all agree, and how the last runs went."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

from include.embedding_etl.errors import EmbeddingEtlError
from include.embedding_etl.settings import PipelineSettings
from include.embedding_etl.status.overview_queries import PipelineView, read_agreement, read_lanes, read_pipeline
from include.embedding_etl.status.run_bars import HEIGHT, PITCH, draw_runs
from include.embedding_etl.status.site import render, site_of

router = APIRouter()


@router.get("/overview")
def overview(request: Request) -> HTMLResponse:
    """All pipelines. What only Milvus knows, and what takes counting, is loaded by the page and holds nothing up."""
    site = site_of(request)
    pipelines, problems = site.pipelines()
    views: list[tuple[PipelineSettings, PipelineView]] = []
    for pipeline in pipelines:
        try:
            with site.opened(pipeline) as runtime:
                views.append((pipeline, read_pipeline(runtime)))
        except EmbeddingEtlError as error:
            problems.append(f"{pipeline.name}: {error}")
    bars = {pipeline.name: draw_runs(view.runs) for pipeline, view in views}
    return render(request, "overview.html", views=views, bars=bars, problems=problems, height=HEIGHT, pitch=PITCH)


@router.get("/overview/{pipeline}/lanes")
def lanes(request: Request, pipeline: str) -> HTMLResponse:
    """Where the objects of each lane stand, as a fragment of the overview."""
    site = site_of(request)
    settings = site.pipeline(pipeline)
    with site.opened(settings) as runtime:
        views = read_lanes(runtime)
    return render(request, "lanes.html", pipeline=settings, lanes=views)


@router.get("/overview/{pipeline}/agreement")
def agreement(request: Request, pipeline: str) -> HTMLResponse:
    """Whether storage, ledger and Milvus agree, as a fragment of the overview."""
    site = site_of(request)
    with site.opened(site.pipeline(pipeline)) as runtime:
        found = read_agreement(runtime)
    return render(request, "agreement.html", lanes=found)
