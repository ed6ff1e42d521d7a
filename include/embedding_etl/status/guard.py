"""What every request passes before a page sees it: login, origin, CSRF token; and what every answer says.

One ASGI middleware rather than a dependency: it covers pages, fragments, previews, static files and what is not there.
"""

import hashlib
import hmac

from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from include.embedding_etl.status.access import Denied, Host, Viewer

CSRF_FIELD = "csrf_token"
CSRF_HEADER = "x-csrf-token"
MAX_FORM_BYTES = 64 * 1024
SAFE_METHODS = frozenset({"GET", "HEAD"})
HEADERS = {
    # No inline script or style, nothing from elsewhere. Airflow shows the pages in a frame of the same origin.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
}


class Guard(BaseHTTPMiddleware):
    """Lets requests of people through who may look, and changes that come from our own pages."""

    def __init__(self, app: ASGIApp, host: Host, secret: str) -> None:
        super().__init__(app)
        self._host = host
        self._secret = secret

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Check, pass on, and set the headers of the answer."""
        try:
            viewer = await self._host.viewer(request)
            request.state.viewer, request.state.csrf_token = viewer, self._token(viewer)
            if request.method not in SAFE_METHODS:
                await self._check_origin(request)
            response = await call_next(request)
        except Denied as denied:
            response = PlainTextResponse(denied.message, denied.status)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    def _token(self, viewer: Viewer) -> str:
        return hmac.new(self._secret.encode(), viewer.session.encode(), hashlib.sha256).hexdigest()

    async def _check_origin(self, request: Request) -> None:
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise Denied(403, "Changes are made from these pages only.")
        token = request.headers.get(CSRF_HEADER)
        if token is None:
            # Small forms only. Uploads are sent by htmx, which sets the header.
            length = request.headers.get("content-length", "")
            if not length.isdecimal() or int(length) > MAX_FORM_BYTES:
                raise Denied(413, "This form is too large.")
            await request.body()  # kept, so that the page can read the form again
            async with request.form() as form:  # files of it are closed, whatever comes of the request
                token = str(form.get(CSRF_FIELD, ""))
        if not hmac.compare_digest(token.encode(), request.state.csrf_token.encode()):
            raise Denied(403, "This page is too old to change anything: load it again.")
