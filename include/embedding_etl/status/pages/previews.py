"""Previews: a small picture, or sound and film for a player. Of objects that the ledger knows, and of no others."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from include.embedding_etl.media_types import modality
from include.embedding_etl.status.access import Denied
from include.embedding_etl.status.decoders import decoders
from include.embedding_etl.status.previews import find_previewable, open_media, poster, thumbnail
from include.embedding_etl.status.site import site_of

HEADERS = {
    # Opened as a page of its own, it can run nothing and belongs to nobody.
    "content-security-policy": "sandbox; default-src 'none'",
    "content-disposition": 'inline; filename="preview"',
    "cache-control": "private, max-age=300",
}

router = APIRouter()


@router.get("/preview/{pipeline}/poster")
def film_poster(request: Request, pipeline: str, key: str) -> Response:
    """What a player shows of a film before it plays."""
    site = site_of(request)
    with site.opened(site.pipeline(pipeline)) as runtime:
        record = find_previewable(runtime, key)
        if modality(record.media_type) != "video":
            raise Denied(415, f"{record.media_type} is no film.")
        return Response(poster(runtime, decoders(), record), media_type="image/webp", headers=HEADERS)


@router.get("/preview/{pipeline}")
def preview(request: Request, pipeline: str, key: str) -> Response:
    """What there is to see or hear of one object."""
    site = site_of(request)
    with site.opened(site.pipeline(pipeline)) as runtime:
        record = find_previewable(runtime, key)
        if modality(record.media_type) == "image":
            return Response(thumbnail(runtime, decoders(), record), media_type="image/webp", headers=HEADERS)
        stretch, data = open_media(runtime, record, request.headers.get("range", ""))
    headers = {**HEADERS, "accept-ranges": "bytes", "content-length": str(stretch.length)}
    if not stretch.is_all:
        last = stretch.start + stretch.length - 1
        headers["content-range"] = f"bytes {stretch.start}-{last}/{stretch.size_bytes}"
    # A media type of the fixed list: the ledger's word alone would be the word of whoever wrote the object.
    return StreamingResponse(data, 200 if stretch.is_all else 206, headers, media_type=record.media_type)
