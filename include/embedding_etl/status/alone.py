"""The status app without Airflow: on 127.0.0.1, for whoever has the token that `etl ui` prints."""

import hmac
import secrets
from typing import Any

from starlette.requests import Request

from include.embedding_etl.places import Places
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.settings import PipelineSettings
from include.embedding_etl.status.access import Denied, Viewer
from include.embedding_etl.status.app import create_app
from include.embedding_etl.status.patience import connect_for_a_page
from include.embedding_etl.status.site import Site

COOKIE = "etl_ui_token"


class AloneHost:
    """Everybody who has the token may do everything that needs no Airflow."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def viewer(self, request: Request) -> Viewer:
        """By the token, in the link that was printed or in the cookie that it set."""
        given = request.query_params.get("token") or request.cookies.get(COOKIE) or ""
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            raise Denied(401, "Open the link that `etl ui` has printed: it carries the token.")
        return Viewer("you", self._token)

    def may_trigger(self, viewer: Viewer, dag_id: str) -> bool:  # noqa: ARG002 - the protocol's
        """There is nobody to ask."""
        return True

    def trigger(self, viewer: Viewer, dag_id: str, form: dict[str, Any]) -> str:
        """There is no Airflow that could run it."""
        raise Denied(
            409,
            f"There is no Airflow here to run {dag_id} for {viewer.name}: use the command line, `etl --help`. "
            f"{form or ''}",
        )

    def run_link(self, run_id: str) -> str:  # noqa: ARG002 - the protocol's
        """There is no page of it."""
        return ""

    def form_link(self, dag_id: str) -> str:  # noqa: ARG002 - the protocol's
        """There is no form."""
        return ""


def serve(places: Places, port: int, tell: Any) -> None:
    """Serve until interrupted. Only this machine can connect.

    Args:
        places: Ledger, state, Milvus, pipelines.
        port: Of 127.0.0.1; 0 = any free one.
        tell: Called with the link.
    """
    import socket

    import uvicorn
    from starlette.middleware.base import BaseHTTPMiddleware

    token = secrets.token_urlsafe(24)

    def open_runtime(pipeline: PipelineSettings) -> Runtime:
        return Runtime(pipeline, places, open_store=connect_for_a_page)

    site = Site(AloneHost(token), places.pipelines_dir, open_runtime)
    app = create_app(site, secrets.token_urlsafe(32))

    async def keep_token(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        if "token" in request.query_params and response.status_code < 400:
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return response

    app.add_middleware(BaseHTTPMiddleware, dispatch=keep_token)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        tell(f"http://127.0.0.1:{listener.getsockname()[1]}/?token={token}")
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
