"""Collections: what readers see, what they saw before; reindex and roll back by a button."""

import pytest

from include.embedding_etl.reindex import reindex
from include.embedding_etl.reindex_request import ReindexRequest
from tests.fixtures_pipeline import Project
from tests.fixtures_status import StatusPages

pytestmark = pytest.mark.both_ledgers

FORM = {"rebuild": "index", "min_recall": "0.9", "sample": "50", "grace_hours": "12", "approval": "true"}


def _reindexed(project: Project) -> tuple[str, str]:
    """A lane whose live collection has replaced another one: names of the earlier and the live one."""
    project.put_many(3)
    project.run()
    with project.open() as runtime:
        request = ReindexRequest(lane="text", rebuild="index", approval=False, min_recall=0, grace_hours=5)
        result = reindex(runtime, "reindex/run-r", request, lambda _: True)
    assert result.cut_over, result.problem
    return result.replaces, result.candidate


def test_live_and_previous_are_shown_with_the_reindex_between_them(status_pages: StatusPages) -> None:
    earlier, live = _reindexed(status_pages.project)
    page = status_pages("viewer").get("/collections").text
    assert page.index(live) < page.index(earlier)
    assert '<span class="sign good">live</span>' in page
    assert '<span class="sign plain">previous</span>' in page
    assert '<a href="/dags/reindex/runs/run-r">reindex/run-r</a>' in page
    assert "1.0000" in page  # recall
    assert "100.0%" in page  # overlap
    assert " style=" not in page


def test_nobody_sees_collections(status_pages: StatusPages) -> None:
    assert status_pages("").get("/collections").status_code == 401


def test_a_viewer_is_told_why_the_buttons_are_off(status_pages: StatusPages) -> None:
    _reindexed(status_pages.project)
    page = status_pages("viewer").get("/collections").text
    assert "You may not start the DAG reindex" in page
    assert "You may not start the DAG rollback" in page
    assert "<form" not in page


def test_reindex_starts_the_dag_with_the_values_of_the_form(status_pages: StatusPages) -> None:
    project = status_pages.project
    _reindexed(project)
    answer = status_pages("admin").change(f"/collections/{project.name}/text/reindex", FORM)
    assert answer.status_code == 200
    assert '<a href="/dags/reindex/runs/run-1">' in answer.text
    expected = {
        "pipeline": project.name,
        "lane": "text",
        "rebuild": "index",
        "min_recall": 0.9,
        "sample": 50,
        "approval": True,
        "grace_hours": 12.0,
    }
    assert status_pages.host.triggered == [("admin", "reindex", expected)]


def test_an_unchecked_approval_is_off(status_pages: StatusPages) -> None:
    form = {name: value for name, value in FORM.items() if name != "approval"}
    status_pages("admin").change(f"/collections/{status_pages.project.name}/text/reindex", form)
    assert status_pages.host.triggered[0][2]["approval"] is False


def test_impossible_values_start_nothing(status_pages: StatusPages) -> None:
    answer = status_pages("admin").change(
        f"/collections/{status_pages.project.name}/text/reindex", {**FORM, "min_recall": "7"}
    )
    assert answer.status_code == 400
    assert "min_recall" in answer.text
    assert status_pages.host.triggered == []


def test_roll_back_names_the_collection(status_pages: StatusPages) -> None:
    project = status_pages.project
    earlier, live = _reindexed(project)
    client = status_pages("admin")
    path = f"/collections/{project.name}/text/rollback"
    assert f'value="{earlier}"' in client.get("/collections").text
    assert client.change(path, {"earlier": earlier, "grace_hours": "24"}).status_code == 200
    assert status_pages.host.triggered == [
        ("admin", "rollback", {"pipeline": project.name, "lane": "text", "earlier": earlier, "grace_hours": 24.0})
    ]
    assert client.change(path, {"earlier": live, "grace_hours": "24"}).status_code == 409
    assert len(status_pages.host.triggered) == 1


def test_a_viewer_cannot_change_anything(status_pages: StatusPages) -> None:
    project = status_pages.project
    client = status_pages("viewer")
    assert client.change(f"/collections/{project.name}/text/reindex", FORM).status_code == 403
    rollback = {"earlier": "x", "grace_hours": "1"}
    assert client.change(f"/collections/{project.name}/text/rollback", rollback).status_code == 403
    assert status_pages("admin").post(f"/collections/{project.name}/text/reindex", data=FORM).status_code in (403, 413)
    assert status_pages.host.triggered == []


def test_while_a_reindex_is_at_work_another_one_waits(status_pages: StatusPages) -> None:
    project = status_pages.project
    _reindexed(project)
    with project.open() as runtime:
        runtime.lease(runtime.reindexing("text"), "reindex/other", ttl_s=60)
        page = status_pages("admin").get("/collections").text
    assert "reindex/other is at work on this lane" in page
    assert "<form" not in page
