"""What every page is made with: templates that escape everything, the pipelines, their opened parts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.pipeline_files import load_pipeline, pipeline_files
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.settings import PipelineSettings
from include.embedding_etl.status.access import Denied, Host, Viewer
from include.embedding_etl.status.shown import shown, shown_text, size, span
from include.embedding_etl.wording import counted

TEMPLATES_DIR = Path(__file__).parent / "templates"
STATIC_DIR = Path(__file__).parent / "static"


@dataclass(frozen=True, slots=True)
class Site:
    """One mounted app.

    Args:
        host: The program that it runs in.
        pipelines_dir: Where the pipeline files are.
        open_runtime: Opens a pipeline's parts; pages close them.
    """

    host: Host
    pipelines_dir: Path
    open_runtime: Callable[[PipelineSettings], Runtime]

    def pipelines(self) -> tuple[list[PipelineSettings], list[str]]:
        """The valid pipelines, and what is wrong with the other files."""
        valid, problems = [], []
        for file in pipeline_files(self.pipelines_dir):
            try:
                valid.append(load_pipeline(file))
            except ConfigError as error:
                problems.append(str(error))
        return valid, problems

    def pipeline(self, name: str) -> PipelineSettings:
        """One of them.

        Raises:
            Denied: 404, there is none of that name.
        """
        for pipeline in self.pipelines()[0]:
            if pipeline.name == name:
                return pipeline
        raise Denied(404, "There is no such pipeline.")

    def lane(self, name: str, lane: str) -> PipelineSettings:
        """The pipeline, if it has that lane.

        Raises:
            Denied: 404, it has not.
        """
        pipeline = self.pipeline(name)
        if lane not in pipeline.lanes:
            raise Denied(404, "There is no such lane.")
        return pipeline

    @contextmanager
    def opened(self, pipeline: PipelineSettings) -> Iterator[Runtime]:
        """Its ledger, state, source and Milvus."""
        with self.open_runtime(pipeline) as runtime:
            yield runtime

    def require_trigger(self, request: Request, dag_id: str) -> None:
        """Changes need the right to start runs of the DAG that would make them.

        Raises:
            Denied: 403.
        """
        if not self.host.may_trigger(viewer_of(request), dag_id):
            raise Denied(403, f"You may not start {dag_id}. Ask somebody who may.")


def viewer_of(request: Request) -> Viewer:
    """Whom the guard has let in."""
    viewer: Viewer = request.state.viewer
    return viewer


def site_of(request: Request) -> Site:
    """The app that answers."""
    site: Site = request.app.state.site
    return site


def render(request: Request, template: str, status_code: int = 200, **values: Any) -> HTMLResponse:
    """A page or a fragment. `url` in templates makes links that work wherever the app is mounted."""
    root = request.scope.get("root_path", "")

    def url(path: str, **query: Any) -> str:
        from urllib.parse import urlencode

        wanted = {name: value for name, value in query.items() if value not in (None, "")}
        return f"{root}{path}" + (f"?{urlencode(wanted)}" if wanted else "")

    text = _ENVIRONMENT.get_template(template).render(
        url=url,
        site=site_of(request),
        viewer=viewer_of(request),
        csrf_token=request.state.csrf_token,
        path=request.url.path.removeprefix(root),
        **values,
    )
    return HTMLResponse(text, status_code)


def moment(epoch_ms: int | None) -> str:
    """A point in time, for people; in UTC, as Airflow's logs are."""
    return "" if epoch_ms is None else f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def duration(seconds: float | None) -> str:
    """A length of time, for people."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES_DIR), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"moment": moment, "duration": duration, "counted": counted}
    environment.filters |= {"shown": shown, "shown_text": shown_text, "size": size, "span": span}
    return environment


_ENVIRONMENT = _environment()
