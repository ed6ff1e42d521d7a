"""Objects: search by key; of each object its state per lane, its rows, what made them, and what is near them."""

from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from include.embedding_etl.errors import EmbeddingEtlError
from include.embedding_etl.status.access import Denied
from include.embedding_etl.status.downloads import LIFETIME_S, sign_download
from include.embedding_etl.status.objects_queries import (
    CHUNKS,
    ChunkView,
    find_only_object,
    read_chunks,
    read_neighbours,
    read_object,
    read_objects,
    read_objects_of_run,
)
from include.embedding_etl.status.previews import has_preview
from include.embedding_etl.status.site import render, site_of
from include.embedding_etl.status.task_links import lane_tasks, letter_log
from include.embedding_etl.types import Hit

router = APIRouter()


@router.get("/objects")
def objects(request: Request, pipeline: str = "", prefix: str = "", after: str = "", run: str = "") -> HTMLResponse:
    """Objects of one pipeline whose keys begin with something, or that a run has made, in key order."""
    site = site_of(request)
    pipelines, problems = site.pipelines()
    if not pipelines:
        return render(request, "objects.html", pipelines=[], problems=problems)
    chosen = site.pipeline(pipeline) if pipeline else pipelines[0]
    with site.opened(chosen) as runtime:
        # No key has it, and no database takes it.
        prefix, after, run = (given.replace("\0", "") for given in (prefix, after, run.strip()))
        if run:
            views, following = read_objects_of_run(runtime, run, prefix, after)
        else:
            views, following = read_objects(runtime, prefix, after)
    return render(
        request,
        "objects.html",
        pipelines=pipelines,
        problems=problems,
        pipeline=chosen,
        prefix=prefix,
        after=after,
        run=run,
        views=views,
        following=following,
    )


@router.get("/made")
def made(request: Request, pipeline: str, run: str, shard: str = "") -> Response:
    """Where a sync task's link leads: to its object where its shard holds one, else to all that its run has made."""
    site = site_of(request)
    chosen = site.pipeline(pipeline)
    with site.opened(chosen) as runtime:
        key = find_only_object(runtime, run, shard) if shard else ""
    query = urlencode({"key": key} if key else {"pipeline": chosen.name, "run": run})
    path = f"/objects/{chosen.name}" if key else "/objects"
    return RedirectResponse(f"{request.scope.get('root_path', '')}{path}?{query}", 303)


@router.get("/objects/{pipeline}")
def one_object(request: Request, pipeline: str, key: str) -> HTMLResponse:
    """All that is known about one object. Its rows come as a fragment: Milvus may not answer."""
    site = site_of(request)
    chosen = site.pipeline(pipeline)
    with site.opened(chosen) as runtime:
        details = read_object(runtime, key)
    return render(
        request,
        "object.html",
        pipeline=chosen,
        details=details,
        view=details.view,
        has_preview=has_preview,
        lane_tasks=lane_tasks,
        letter_log=letter_log,
    )


@router.post("/objects/{pipeline}/download")
def download(request: Request, pipeline: str, key: str) -> HTMLResponse:
    """A link to an object's bytes, made at the click. Whoever may look may have it: nothing is changed.

    Not a redirect: browsers hold where a form leads in the end against form-action, which is this server alone.
    """
    site, is_fragment = site_of(request), "hx-request" in request.headers
    chosen, link, problem = site.pipeline(pipeline), "", ""
    try:
        with site.opened(chosen) as runtime:
            link = sign_download(runtime, key)
    except (Denied, EmbeddingEtlError) as error:
        if not is_fragment:
            raise
        problem = error.message if isinstance(error, Denied) else str(error)
    template = "download.html" if is_fragment else "download_page.html"
    minutes = LIFETIME_S // 60
    return render(request, template, pipeline=chosen, key=key, link=link, problem=problem, minutes=minutes)


@router.get("/objects/{pipeline}/chunks")
def chunks(request: Request, pipeline: str, key: str, lane: str, start: int = 0) -> HTMLResponse:
    """Some rows of an object in the lane's live collection, as Milvus has them."""
    site, problem, total = site_of(request), "", 0
    rows: list[ChunkView] = []
    chosen = site.lane(pipeline, lane)
    with site.opened(chosen) as runtime:
        try:
            rows, total = read_chunks(runtime, lane, key, start)
        except EmbeddingEtlError as error:
            problem = str(error)
    return render(
        request,
        "chunks.html",
        pipeline=chosen,
        lane=lane,
        key=key,
        start=max(0, start),
        step=CHUNKS,
        rows=rows,
        total=total,
        problem=problem,
        has_preview=has_preview,
    )


@router.get("/objects/{pipeline}/neighbours")
def neighbours(request: Request, pipeline: str, key: str, lane: str, ordinal: int) -> HTMLResponse:
    """What is nearest to one row."""
    site, problem = site_of(request), ""
    hits: list[Hit] = []
    chosen = site.lane(pipeline, lane)
    with site.opened(chosen) as runtime:
        try:
            hits = read_neighbours(runtime, lane, key, ordinal)
        except EmbeddingEtlError as error:
            problem = str(error)
    return render(request, "hits.html", pipeline=chosen, lane=lane, hits=hits, problem=problem, has_preview=has_preview)
