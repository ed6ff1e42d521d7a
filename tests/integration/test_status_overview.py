"""The overview: what is indexed, what is not, and whether all agree."""

from tests.fixtures_status import StatusPages


def test_nobody_sees_nothing(status_pages: StatusPages) -> None:
    assert status_pages("").get("/overview").status_code == 401


def test_pipelines_are_named(status_pages: StatusPages) -> None:
    assert status_pages.project.name in status_pages("viewer").get("/overview").text
