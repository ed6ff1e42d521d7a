"""Map: a lane's vectors as points; near points are alike, as far as two dimensions can show it."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse

from include.embedding_etl.errors import EmbeddingEtlError
from include.embedding_etl.status.site import render, site_of
from include.embedding_etl.status.vector_map import MAX_POINTS, Maps, VectorMap, group_names

GROUPS = 7  # and "other": as many signs as can be told apart
TABLE_ROWS = 200

router = APIRouter()
maps = Maps()


@router.get("/map")
def vector_map(
    request: Request, lane: Annotated[str, Query()] = "", colour: Annotated[str, Query()] = "media_type"
) -> HTMLResponse:
    """The page. Its points are loaded by it, since Milvus may be slow.

    Args:
        lane: "pipeline/lane"; "" = the first there is.
        colour: media_type or prefix.
    """
    site = site_of(request)
    pipelines, problems = site.pipelines()
    choices = [f"{pipeline.name}/{name}" for pipeline in pipelines for name in pipeline.lanes]
    chosen = lane or next(iter(choices), "")
    if chosen:
        site.lane(*_parts(chosen))
    name, lane_name = _parts(chosen)
    return render(
        request,
        "map.html",
        choices=choices,
        chosen=chosen,
        pipeline=name,
        lane=lane_name,
        colour="prefix" if colour == "prefix" else "media_type",
        problems=problems,
        max_points=MAX_POINTS,
    )


@router.get("/map/{pipeline}/{lane}/points")
def points(request: Request, pipeline: str, lane: str) -> JSONResponse:
    """What the page draws: places, keys and groups. Keys are foreign: they are text wherever they go."""
    try:
        found = _read(request, pipeline, lane)
    except EmbeddingEtlError as error:
        return JSONResponse({"problem": str(error)}, 503)
    shown = found.points if found is not None else ()
    kinds, prefixes = [point.media_type for point in shown], [point.prefix for point in shown]
    return JSONResponse(
        {
            "points": [[round(point.x, 4), round(point.y, 4), point.key] for point in shown],
            "media_type": _groups(kinds),
            "prefix": _groups(prefixes),
            "rows": found.rows if found is not None else 0,
            "shown_variance": found.shown_variance if found is not None else 0.0,
        }
    )


@router.get("/map/{pipeline}/{lane}/table")
def table(request: Request, pipeline: str, lane: str) -> HTMLResponse:
    """The same for those who do not look at pictures: the beginning of the sample, by key."""
    found = _read(request, pipeline, lane)
    shown = sorted(found.points if found is not None else (), key=lambda point: (point.key, point.ordinal))
    return render(request, "map_table.html", pipeline=pipeline, points=shown[:TABLE_ROWS], all_points=len(shown))


def _read(request: Request, pipeline: str, lane: str) -> VectorMap | None:
    site = site_of(request)
    with site.opened(site.lane(pipeline, lane)) as runtime:
        return maps.of_lane(runtime, lane)


def _groups(values: list[str]) -> dict[str, list[str] | list[int]]:
    """Names, and for every point the place of its own; one behind the last = other."""
    names = group_names(values, GROUPS)
    places = {name: place for place, name in enumerate(names)}
    return {"names": names, "of_points": [places.get(value, len(names)) for value in values]}


def _parts(choice: str) -> tuple[str, str]:
    name, _, lane = choice.partition("/")
    return name, lane
