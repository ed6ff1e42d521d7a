"""The status app: pages over the ledger and Milvus. Mounted into Airflow by plugins/, or served alone by `etl ui`."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from include.embedding_etl.errors import EmbeddingEtlError
from include.embedding_etl.status.access import Denied
from include.embedding_etl.status.guard import Guard
from include.embedding_etl.status.pages import PAGES
from include.embedding_etl.status.site import STATIC_DIR, Site, render

STATIC_FILES = {file.name: file for file in STATIC_DIR.iterdir() if file.suffix in (".css", ".js", ".svg")}


def create_app(site: Site, secret: str) -> FastAPI:
    """The app with all its pages.

    Args:
        site: Host, pipelines, and how to open them.
        secret: CSRF tokens are derived from it; the same in all processes that serve the app.
    """
    app = FastAPI(title="Embedding ETL", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.site = site
    app.add_middleware(Guard, host=site.host, secret=secret)
    app.add_api_route("/static/{name}", _static, methods=["GET"])
    for router in PAGES:
        app.include_router(router)
    app.add_exception_handler(Denied, _denied)
    app.add_exception_handler(EmbeddingEtlError, _failed)
    app.add_exception_handler(RequestValidationError, _misread)
    app.add_api_route("/", _start, methods=["GET"])
    return app


def _start(request: Request) -> Response:
    return RedirectResponse(f"{request.scope.get('root_path', '')}/overview")


def _static(name: str) -> Response:
    if name not in STATIC_FILES:
        raise Denied(404, "There is no such file.")
    return FileResponse(STATIC_FILES[name], headers={"cache-control": "private, max-age=3600"})


def _denied(request: Request, denied: Exception) -> Response:
    assert isinstance(denied, Denied)  # noqa: S101 - registered for this class only
    return render(request, "problem.html", denied.status, title="This did not work", message=denied.message)


def _failed(request: Request, error: Exception) -> Response:
    """A server that does not answer, or a setting that is wrong: said in the words of the error."""
    return render(
        request, "problem.html", 503, title="Something does not answer, or is not set right", message=str(error)
    )


def _misread(request: Request, error: Exception) -> Response:
    """An address or a form that names something which is not there, or in the wrong form."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    wrong = "; ".join(f"{detail['loc'][-1]}: {detail['msg']}" for detail in error.errors())
    return render(request, "problem.html", 422, title="This address or form is not right", message=wrong)
