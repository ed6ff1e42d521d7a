"""Every route that changes something asks for the right to start its DAG by itself, whatever the host does later."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.routing import Route

from include.embedding_etl.dead_letters import LetterChoice, list_letters
from tests.fixtures_pipeline import Project
from tests.fixtures_status import StatusHost, StatusPages

pytestmark = pytest.mark.both_ledgers

SEARCHING = {"/search/file", "/objects/{pipeline}/download"}  # they change nothing: whoever looks may
REINDEX = {"rebuild": "index", "min_recall": "0.9", "sample": "50", "grace_hours": "12", "approval": "true"}
LETTERS = {"scope": "filter", "reason": "because"}


class TrustingHost(StatusHost):
    """A host that starts whatever the pages ask for: only the pages' own checks are left."""

    airflow = True

    def trigger(self, viewer: Any, dag_id: str, form: dict[str, Any]) -> str:
        self.triggered.append((viewer.name, dag_id, form))
        return self.run_link(f"{dag_id}/run")

    def form_link(self, dag_id: str) -> str:
        return super().form_link(dag_id) if self.airflow else ""


@pytest.fixture
def pages(project: Project) -> StatusPages:
    """One open letter; a live collection, and an earlier one to go back to."""
    project.thresholds = {"max_failed_fraction": 1.0}
    project.configure()
    project.put("fine.txt", "a text")
    project.put("blank.txt", " \n ")
    project.run()
    return StatusPages(project, TrustingHost())


@pytest.fixture
def rolled(pages: StatusPages) -> StatusPages:
    """As after a reindex: there is an earlier collection."""
    from include.embedding_etl.reindex import reindex
    from include.embedding_etl.reindex_request import ReindexRequest

    with pages.project.open() as runtime:
        request = ReindexRequest(lane="text", rebuild="index", approval=False, min_recall=0, grace_hours=5)
        assert reindex(runtime, "reindex/run-r", request, lambda _: True).cut_over
    return pages


def earlier(pages: StatusPages) -> str:
    with pages.project.open() as runtime:
        records = runtime.ledger.collections.of_pipeline(pages.project.name)
    return next(record.name for record in records if record.state != "live")


def open_letters(pages: StatusPages) -> list[tuple[str, int]]:
    with pages.project.open() as runtime:
        return [(letter.key, letter.attempts) for letter in list_letters(runtime, LetterChoice(), 10)]


FORMS: dict[str, Callable[[StatusPages], dict[str, str]]] = {
    "/failures/replay": lambda pages: {"pipeline": pages.project.name, **LETTERS},
    "/failures/dismiss": lambda pages: {"pipeline": pages.project.name, **LETTERS},
    "/collections/{pipeline}/{lane}/reindex": lambda _: REINDEX,
    "/collections/{pipeline}/{lane}/rollback": lambda pages: {"earlier": earlier(pages), "grace_hours": "1"},
}
DAGS = {"replay": "replay_dead_letters", "dismiss": "replay_dead_letters", "reindex": "reindex", "rollback": "rollback"}


def path_of(route: str, pages: StatusPages) -> str:
    return route.format(pipeline=pages.project.name, lane="text")


def test_every_route_that_changes_something_is_walked_here(pages: StatusPages) -> None:
    posts = {route.path for route in pages.app.routes if isinstance(route, Route) and "POST" in (route.methods or ())}
    assert posts - SEARCHING == set(FORMS)


@pytest.mark.parametrize("route", FORMS)
def test_without_the_right_the_page_itself_refuses_and_nothing_is_changed(rolled: StatusPages, route: str) -> None:
    answer = rolled("viewer").change(path_of(route, rolled), FORMS[route](rolled))
    assert answer.status_code == 403
    assert f"You may not start {DAGS[route.rpartition('/')[2]]}" in answer.text
    assert rolled.host.triggered == []
    assert open_letters(rolled) == [("blank.txt", 1)]


@pytest.mark.parametrize("route", FORMS)
def test_with_the_right_the_same_form_is_taken(rolled: StatusPages, route: str) -> None:
    assert rolled("admin").change(path_of(route, rolled), FORMS[route](rolled)).status_code == 200
    assert rolled.host.triggered or open_letters(rolled) == []


def test_where_no_airflow_refuses_the_page_still_does(pages: StatusPages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrustingHost, "airflow", False)
    for route in ("/failures/replay", "/failures/dismiss"):
        assert pages("viewer").change(route, FORMS[route](pages)).status_code == 403
    assert open_letters(pages) == [("blank.txt", 1)]
    assert re.search(
        "1 dead letter is due",
        pages("admin").change("/failures/replay", LETTERS | {"pipeline": pages.project.name}).text,
    )


def test_the_right_is_asked_for_before_anything_is_read(pages: StatusPages) -> None:
    """Whoever may not change anything does not learn either what is there."""
    for route in ("/collections/{pipeline}/{lane}/rollback", "/collections/{pipeline}/{lane}/reindex"):
        form = {**REINDEX, "earlier": "no_such_collection"}
        assert pages("viewer").change(path_of(route, pages), form).status_code == 403
        assert pages("viewer").change(route.format(pipeline="nosuch", lane="text"), form).status_code == 403
    for route in ("/failures/replay", "/failures/dismiss"):
        assert pages("viewer").change(route, {"pipeline": "nosuch"}).status_code == 403
    assert pages.host.triggered == []
