"""What every request passes before a page sees it, asked over real pages."""

import pytest

from include.embedding_etl.status.guard import HEADERS, MAX_FORM_BYTES
from tests.fixtures_status import StatusPages

CHANGE = "/failures/dismiss"


@pytest.mark.parametrize("path", ["/overview", "/static/app.css", "/static/nothing.js", "/nothing", "/metrics"])
def test_every_answer_says_what_a_browser_may_do_with_it(status_pages: StatusPages, path: str) -> None:
    for role in ("", "viewer"):
        answer = status_pages(role).get(path)
        sent = {name: answer.headers[name] for name in HEADERS if name != "cache-control"}
        assert sent == {name: value for name, value in HEADERS.items() if name != "cache-control"}
        assert "public" not in answer.headers["cache-control"]
        assert (answer.status_code == 401) is (role == "")


def test_nothing_may_be_run_that_is_not_a_file_of_ours() -> None:
    policy = dict(part.strip().split(" ", 1) for part in HEADERS["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_a_change_that_another_site_asks_for_is_refused(status_pages: StatusPages, site: str) -> None:
    answer = status_pages().change(CHANGE, {"reason": "x"}, headers={"sec-fetch-site": site})
    assert answer.status_code == 403
    assert "from these pages only" in answer.text


@pytest.mark.parametrize("token", ["", "0" * 64, "é"], ids=["none", "guessed", "no ASCII"])
def test_a_change_without_the_token_of_a_page_is_refused(status_pages: StatusPages, token: str) -> None:
    client = status_pages()
    assert client.post(CHANGE, data={"csrf_token": token}).status_code == 403
    assert client.post(CHANGE, headers={"x-csrf-token": token.encode("latin-1")}).status_code == 403


def test_a_form_that_is_too_large_or_of_no_known_size_is_refused_unread(status_pages: StatusPages) -> None:
    client = status_pages()
    assert client.change(CHANGE, {"reason": "x" * MAX_FORM_BYTES}).status_code == 413
    assert client.post(CHANGE, content=iter([b"csrf_token=", b"x"])).status_code == 413


@pytest.mark.parametrize("path", ["/search?top=many", "/search?q=x&top=1000", "/objects/{name}"])
def test_an_address_that_is_not_right_is_a_page_that_says_so(status_pages: StatusPages, path: str) -> None:
    answer = status_pages("viewer").get(path.format(name=status_pages.project.name))
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/html")
    assert "Back to the overview" in answer.text


def test_what_was_wrong_in_an_address_is_shown_escaped(status_pages: StatusPages) -> None:
    answer = status_pages("viewer").get("/search?top=<script>alert(1)</script>")
    assert answer.status_code == 422
    assert "top: " in answer.text
    assert "<script>alert" not in answer.text
