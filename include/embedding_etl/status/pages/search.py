"""Search: by a sentence, a picture, a sound or a film, in one lane. Nothing is changed, so everybody who looks may."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse

from include.embedding_etl import search as searching
from include.embedding_etl.errors import ConfigError, EmbeddingEtlError
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.status.decoders import decoders
from include.embedding_etl.status.loaded_models import MODELS
from include.embedding_etl.status.previews import has_preview
from include.embedding_etl.status.site import render, site_of
from include.embedding_etl.status.uploads import MAX_BYTES, is_too_large, spooled
from include.embedding_etl.types import Hit
from include.embedding_etl.vectorstore.filters import ALLOWED_FIELDS, parse_filter

router = APIRouter()


class Asked(BaseModel):
    """The form, without its file."""

    pipeline: str = ""
    lane: str = ""
    q: Annotated[str, Field(max_length=10_000)] = ""
    filter: Annotated[str, Field(max_length=2_000)] = ""
    top: Annotated[int, Field(ge=1, le=100)] = 12


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a search."""

    lane: str = ""
    hits: tuple[Hit, ...] = ()
    problem: str = ""


@router.get("/search")
def search(request: Request, asked: Annotated[Asked, Query()]) -> HTMLResponse:
    """The form, and the hits of a sentence where there is one."""
    site = site_of(request)
    pipelines, problems = site.pipelines()
    if not pipelines:
        return render(request, "search.html", pipelines=[], problems=problems)
    pipeline = site.pipeline(asked.pipeline) if asked.pipeline else pipelines[0]
    found = None
    if asked.q.strip():
        with site.opened(pipeline) as runtime:
            found = _find(runtime, asked, None)
    return render(
        request,
        "search.html",
        pipelines=pipelines,
        problems=problems,
        pipeline=pipeline,
        lanes=sorted({lane for one in pipelines for lane in one.lanes}),
        asked=asked,
        found=found,
        fields=ALLOWED_FIELDS,
        max_mib=MAX_BYTES >> 20,
        has_preview=has_preview,
    )


@router.post("/search/file")
async def search_by_file(request: Request) -> HTMLResponse:
    """The hits of an uploaded file, as a fragment: a problem is shown in its place."""
    if is_too_large(request):
        return _problem(request, f"The file is too large: at most {MAX_BYTES >> 20} MiB.")
    async with request.form(max_files=1, max_fields=10) as form:
        upload = form.get("file")
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        if not isinstance(upload, UploadFile) or not upload.size:
            return _problem(request, "Choose a picture, a sound or a film first.")
        if upload.size > MAX_BYTES:
            return _problem(request, f"The file is too large: at most {MAX_BYTES >> 20} MiB.")
        try:
            asked = Asked.model_validate(fields)
        except ValidationError:
            return _problem(request, "The form is not filled in right: load the page again.")
        return await run_in_threadpool(_search_upload, request, asked, upload)


def _search_upload(request: Request, asked: Asked, upload: UploadFile) -> HTMLResponse:
    site = site_of(request)
    pipeline = site.pipeline(asked.pipeline)
    try:
        with spooled(upload) as file, site.opened(pipeline) as runtime:
            found = _find(runtime, asked, file, upload.filename or "the file")
    except EmbeddingEtlError as error:
        found = Found(problem=str(error))
    return render(request, "found.html", pipeline=pipeline, found=found, has_preview=has_preview)


def _find(runtime: Runtime, asked: Asked, file: Path | None, name: str = "") -> Found:
    try:
        expression = parse_filter(asked.filter) if asked.filter.strip() else ""
        modality = "text" if file is None else searching.query_modality(file, name)
        lane = asked.lane or next(iter(searching.lanes_that_read(runtime, modality)), "")
        if not lane:
            raise ConfigError(f"no lane that reads {modality} has anything indexed; run an ingestion first")
        query = searching.Query(asked.q, file, expression, asked.top, name)
        hits = searching.search(runtime, lane, query, MODELS.get, decoders() if file else None)
    except EmbeddingEtlError as error:
        return Found(asked.lane, problem=str(error))
    return Found(lane, tuple(hits))


def _problem(request: Request, problem: str) -> HTMLResponse:
    return render(request, "found.html", pipeline=None, found=Found(problem=problem), has_preview=has_preview)
