"""Collections: what readers see now, what they saw before, what is being built; reindex and roll back."""

from typing import Annotated, Any

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import HTMLResponse

from include.embedding_etl.errors import ConfigError, EmbeddingEtlError
from include.embedding_etl.reindex_request import ReindexRequest
from include.embedding_etl.status.access import Denied
from include.embedding_etl.status.collections_queries import (
    LaneCollections,
    read_collections,
    read_reindexes,
)
from include.embedding_etl.status.site import Site, render, site_of, viewer_of

REINDEX_DAG, ROLLBACK_DAG = "reindex", "rollback"

router = APIRouter()


@router.get("/collections")
def collections(request: Request) -> HTMLResponse:
    """All lanes of all pipelines, and their last reindexes."""
    site = site_of(request)
    pipelines, problems = site.pipelines()
    views = []
    for pipeline in pipelines:
        try:
            with site.opened(pipeline) as runtime:
                lanes = [(lane, _reasons(request, lane)) for lane in read_collections(runtime)]
                views.append((pipeline, lanes, read_reindexes(runtime)))
        except EmbeddingEtlError as error:
            problems.append(f"{pipeline.name}: {error}")
    defaults = ReindexRequest(lane="")
    return render(request, "collections.html", views=views, problems=problems, defaults=defaults)


@router.post("/collections/{pipeline}/{lane}/reindex")
def reindex(
    request: Request,
    pipeline: str,
    lane: str,
    rebuild: Annotated[str, Form()],
    min_recall: Annotated[float, Form()],
    sample: Annotated[int, Form()],
    grace_hours: Annotated[float, Form()],
    approval: Annotated[bool, Form()] = False,
) -> HTMLResponse:
    """Start the DAG with what its own form would ask for; the index is that of the pipeline file."""
    form = {
        "lane": lane,
        "rebuild": rebuild,
        "min_recall": min_recall,
        "sample": sample,
        "approval": approval,
        "grace_hours": grace_hours,
    }
    return _start(request, REINDEX_DAG, pipeline, form)


@router.post("/collections/{pipeline}/{lane}/rollback")
def rollback(
    request: Request,
    pipeline: str,
    lane: str,
    earlier: Annotated[str, Form(min_length=1)],
    grace_hours: Annotated[float, Form()],
) -> HTMLResponse:
    """Start the DAG that goes back to a collection which is still there."""
    site = site_of(request)
    site.require_trigger(request, ROLLBACK_DAG)
    with site.opened(site.lane(pipeline, lane)) as runtime:
        there = [
            each.name
            for each in runtime.ledger.collections.of_pipeline(pipeline)
            if each.lane == lane and each.state != "live"
        ]
    if earlier not in there:
        raise Denied(409, f"{earlier} is not there any more, or is live already. Load the page of collections again.")
    form = {"lane": lane, "earlier": earlier, "grace_hours": grace_hours}
    return _start(request, ROLLBACK_DAG, pipeline, form)


def _start(request: Request, dag_id: str, pipeline: str, form: dict[str, Any]) -> HTMLResponse:
    site: Site = site_of(request)
    site.require_trigger(request, dag_id)
    try:
        ReindexRequest.parse(site.lane(pipeline, form["lane"]), form)
    except ConfigError as error:
        raise Denied(400, str(error)) from error
    link = site.host.trigger(viewer_of(request), dag_id, {"pipeline": pipeline, **form})
    return render(request, "started.html", dag_id=dag_id, link=link, pipeline=pipeline, lane=form["lane"])


def _reasons(request: Request, lane: LaneCollections) -> dict[str, str]:
    """Why a DAG cannot be started for the lane now, by DAG; "" = it can."""
    return {dag_id: _reason(request, dag_id, lane) for dag_id in (REINDEX_DAG, ROLLBACK_DAG)}


def _reason(request: Request, dag_id: str, lane: LaneCollections) -> str:
    host = site_of(request).host
    if not host.form_link(dag_id):
        return f"There is no Airflow here. On the command line: etl {dag_id} --help"
    if not host.may_trigger(viewer_of(request), dag_id):
        return f"You may not start the DAG {dag_id}. Ask somebody who may."
    if not lane.has_live:
        return "Nothing is indexed yet."
    return f"{lane.at_work} is at work on this lane: wait until it has ended." if lane.at_work else ""
