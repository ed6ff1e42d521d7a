"""Overview: per pipeline and lane, what is indexed, whether all agree, and how the last runs went."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

from include.embedding_etl.status.site import render, site_of

router = APIRouter()


@router.get("/overview")
def overview(request: Request) -> HTMLResponse:
    """All pipelines."""
    pipelines, problems = site_of(request).pipelines()
    return render(request, "overview.html", pipelines=pipelines, problems=problems)
