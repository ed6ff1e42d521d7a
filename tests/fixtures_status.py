"""The status app over a Project: served in this process, for people with different rights."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from include.embedding_etl.places import Places
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.settings import PipelineSettings
from include.embedding_etl.status.access import Denied, Viewer
from include.embedding_etl.status.app import create_app
from include.embedding_etl.status.patience import connect_for_a_page
from include.embedding_etl.status.site import Site
from tests.fixtures_pipeline import Project

ROLE_HEADER = "x-test-role"  # "viewer" may look, "admin" may change; anybody else is nobody


@dataclass
class StatusHost:
    """Stands for Airflow. `triggered` is every (person, dag_id, form) that was started."""

    triggered: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    async def viewer(self, request: Request) -> Viewer:
        role = request.headers.get(ROLE_HEADER, "")
        if role not in ("viewer", "admin"):
            raise Denied(401, "Log in first.")
        return Viewer(role, f"session of {role}", role)

    def may_trigger(self, viewer: Viewer, dag_id: str) -> bool:
        return viewer.name == "admin"

    def trigger(self, viewer: Viewer, dag_id: str, form: dict[str, Any]) -> str:
        if not self.may_trigger(viewer, dag_id):
            raise Denied(403, f"You may not start {dag_id}. Ask somebody who may.")
        self.triggered.append((viewer.name, dag_id, form))
        return self.run_link(f"{dag_id}/run-{len(self.triggered)}")

    def run_link(self, run_id: str) -> str:
        dag_id, separator, dag_run_id = run_id.partition("/")
        return f"/dags/{dag_id}/runs/{dag_run_id}" if separator else ""

    def form_link(self, dag_id: str) -> str:
        return f"/dags/{dag_id}"


class StatusClient(TestClient):
    """A browser of one person, which sends the CSRF token of the last page that it has seen."""

    def token(self, page: str = "/overview") -> str:
        """The CSRF token, as a page carries it."""
        found = re.search(r'"X-CSRF-Token": "(\w+)"', self.get(page).text)
        assert found, f"{page} carries no CSRF token"
        return found.group(1)

    def change(self, path: str, form: dict[str, Any] | None = None, **options: Any) -> Any:
        """POST a form of a page."""
        return self.post(path, data={**(form or {}), "csrf_token": self.token()}, **options)


@dataclass
class StatusPages:
    """One app over one Project. `pages("viewer")` is a client of somebody who may look; "" is nobody."""

    project: Project
    host: StatusHost = field(default_factory=StatusHost)
    places: dict[str, Any] = field(default_factory=dict)  # other than the project's: {"milvus_uri": …}

    def __post_init__(self) -> None:
        self.app = create_app(Site(self.host, self.project.root / "pipelines", self.open), "test secret")

    def open(self, pipeline: PipelineSettings) -> Runtime:
        root = self.project.root
        values = {
            "pipelines_dir": root / "pipelines",
            "state_uri": str(root / "state"),
            "ledger_url": self.project.ledger_url,
            "milvus_uri": self.project.milvus_uri,
            **self.places,
        }
        return Runtime(
            pipeline, Places(_env_file=None, **values), open_store=self.project.open_store or connect_for_a_page
        )

    def __call__(self, role: str = "admin", root_path: str = "", **options: Any) -> StatusClient:
        return StatusClient(
            self.app, base_url="http://testserver", root_path=root_path, headers={ROLE_HEADER: role}, **options
        )


@pytest.fixture
def status_pages(project: Project) -> StatusPages:
    """The pages over the test's project."""
    return StatusPages(project)


@pytest.fixture
def pages_of() -> Callable[[Project], StatusPages]:
    """For tests with a Project of their own."""
    return StatusPages
