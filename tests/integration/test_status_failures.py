"""The Failures page over a real ledger: what it shows, whom it lets change something, what it starts."""

import re

import pytest

from include.embedding_etl.dead_letters import LetterChoice, list_letters
from include.embedding_etl.ledger.records import DeadLetter, Letter, LetterFilter
from include.embedding_etl.status.failures_queries import PAGE
from tests.fixtures_pipeline import Project
from tests.fixtures_status import StatusPages

pytestmark = pytest.mark.both_ledgers

HOSTILE = "<script>alert(1)</script>\"'{{7*7}}\x01\u202e"


@pytest.fixture
def failed(project: Project) -> Project:
    """Three open letters of two classes."""
    project.thresholds = {"max_failed_fraction": 1.0}
    project.configure()
    project.put_many(2)
    project.put("a/refused.txt", "unwanted words")
    project.put("b/refused.txt", "unwanted words of another kind")
    project.put("a/blank.txt", " \n ")
    project.endpoint.refused_word = "unwanted"
    assert project.run().lanes["text"].dead_letters == 3
    project.endpoint.refused_word = ""
    return project


@pytest.fixture
def pages(failed: Project) -> StatusPages:
    return StatusPages(failed)


def letters(project: Project, state: str = "open") -> dict[str, DeadLetter]:
    with project.open() as runtime:
        return {one.key: one for one in list_letters(runtime, LetterChoice(state=state), 1000)}  # type: ignore[arg-type]


def record(project: Project, *failures: Letter) -> None:
    with project.open() as runtime:
        live = runtime.ledger.collections.live(project.name, "text")
        assert live is not None
        runtime.ledger.dead_letters.record(project.name, "text", live.fingerprint, failures)


def shown_keys(html: str) -> list[str]:
    return re.findall(r'<td class="key"><a [^>]*>([^<]*)</a>', html)


def test_letters_are_grouped_by_class_with_what_to_do(pages: StatusPages) -> None:
    page = pages("viewer").get("/failures").text
    groups = re.findall(r'<th scope="row"><a [^>]*>(\w+)</a></th>\s*<td class="number">(\d+)</td>', page)
    assert groups == [("InputRefused", "2"), ("NothingToEmbed", "1")]
    assert "New letters per day, today last: 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2" in page
    assert "Mend the endpoint or the text, then replay" in page
    assert "style=" not in page


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ({"error_class": "NothingToEmbed"}, ["a/blank.txt"]),
        ({"key": "a/**"}, ["a/blank.txt", "a/refused.txt"]),
        ({"key": "**/refused.*", "error_class": "InputRefused"}, ["a/refused.txt", "b/refused.txt"]),
        ({"lane": "text"}, ["a/blank.txt", "a/refused.txt", "b/refused.txt"]),
        ({"since": "2100-01-01"}, []),
        ({"state": "dismissed"}, []),
        ({"state": "all"}, ["a/blank.txt", "a/refused.txt", "b/refused.txt"]),
    ],
)
def test_a_filter_narrows_the_letters_down(pages: StatusPages, query: dict[str, str], keys: list[str]) -> None:
    page = pages("viewer").get("/failures", params={**query, "pipeline": pages.project.name})
    assert page.status_code == 200
    assert sorted(shown_keys(page.text)) == keys


def test_a_time_that_is_none_is_said_in_place(pages: StatusPages) -> None:
    page = pages("viewer").get("/failures", params={"since": "<b>soon</b>"})
    assert page.status_code == 200
    assert "&lt;b&gt;soon&lt;/b&gt;&#39; is no time" in page.text


def test_more_letters_than_one_page_holds_are_all_reached(pages: StatusPages) -> None:
    record(pages.project, *(Letter(f"many/{n:03d}", "v", "extract", "NoText", "no", "r") for n in range(2 * PAGE)))
    client, seen, path = pages("viewer"), list[str](), "/failures?key=many/**"
    while path:
        page = client.get(path).text
        seen += shown_keys(page)
        found = re.search(r'<a href="([^"]+)">Older</a>', page)
        path = found.group(1).replace("&amp;", "&") if found else ""
    assert seen == [f"many/{n:03d}" for n in reversed(range(2 * PAGE))]


def test_a_row_leads_to_its_object_and_its_run(pages: StatusPages) -> None:
    record(pages.project, Letter("x y.txt", "v", "extract", "NoText", "no", f"ingest__{pages.project.name}/manual"))
    page = pages("viewer", root_path="/embedding-etl").get("/embedding-etl/failures").text
    assert f'href="/embedding-etl/objects/{pages.project.name}?key=x+y.txt"' in page
    assert f'href="/dags/ingest__{pages.project.name}/runs/manual"' in page


def test_the_selected_letters_are_replayed_by_the_dag(pages: StatusPages) -> None:
    letter = letters(pages.project)["a/refused.txt"]
    answer = pages("admin").change("/failures/replay", {"pipeline": pages.project.name, "ids": letter.id})
    assert answer.status_code == 200
    assert 'href="/dags/replay_dead_letters/runs/run-1"' in answer.text
    ((who, dag_id, form),) = pages.host.triggered
    assert (who, dag_id, form["pipeline"], form["ids"]) == (
        "admin",
        "replay_dead_letters",
        pages.project.name,
        [letter.id],
    )
    assert letters(pages.project)["a/refused.txt"].attempts == 1  # the DAG makes them due, not the page


def test_all_letters_of_a_filter_are_replayed_by_the_dag(pages: StatusPages) -> None:
    wanted = {"pipeline": pages.project.name, "scope": "filter", "error_class": "InputRefused", "since": "2026-01-01"}
    pages("admin").change("/failures/replay", wanted)
    assert pages.host.triggered[0][2] == {
        "pipeline": pages.project.name,
        "lane": "all lanes",
        "error_class": "InputRefused",
        "key_glob": None,
        "since": "2026-01-01T00:00:00+00:00",
        "ids": None,
    }


def test_without_airflow_letters_are_made_due_for_the_next_run(
    pages: StatusPages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(pages.host), "form_link", lambda self, dag_id: "")
    wanted = {"pipeline": pages.project.name, "scope": "filter", "error_class": "InputRefused"}
    answer = pages("admin").change("/failures/replay", wanted).text
    assert f"2 dead letters are due. There is no Airflow here: run `etl run {pages.project.name}`" in answer
    assert {key: one.attempts for key, one in letters(pages.project).items()} == {
        "a/refused.txt": 0,
        "b/refused.txt": 0,
        "a/blank.txt": 1,
    }


def test_dismissing_keeps_the_reason_and_who_it_was(pages: StatusPages) -> None:
    letter = letters(pages.project)["a/blank.txt"]
    client = pages("admin")
    form = {"pipeline": pages.project.name, "ids": letter.id, "reason": HOSTILE}
    assert "1 dead letter is dismissed" in client.change("/failures/dismiss", form).text
    kept = letters(pages.project, "dismissed")["a/blank.txt"]
    assert (kept.dismissed_by, kept.dismiss_reason) == ("admin", HOSTILE)
    page = client.get("/failures", params={"state": "dismissed"}).text
    assert "by admin: &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert sorted(letters(pages.project)) == ["a/refused.txt", "b/refused.txt"]


def test_all_letters_of_a_filter_are_dismissed(pages: StatusPages) -> None:
    form = {"pipeline": pages.project.name, "scope": "filter", "key": "*/refused.txt", "reason": "not ours"}
    assert "2 dead letters" in pages("admin").change("/failures/dismiss", form).text
    assert list(letters(pages.project)) == ["a/blank.txt"]


@pytest.mark.parametrize(
    ("path", "form", "reason"),
    [
        ("replay", {}, "No letter is selected"),
        ("dismiss", {"scope": "filter"}, "Say why nobody needs them"),
        ("dismiss", {"scope": "filter", "reason": "  "}, "Say why nobody needs them"),
        ("replay", {"scope": "filter", "state": "dismissed"}, "Only open letters"),
        ("replay", {"scope": "filter", "since": "soon"}, "is no time"),
    ],
)
def test_what_is_not_clear_changes_nothing(pages: StatusPages, path: str, form: dict[str, str], reason: str) -> None:
    answer = pages("admin").change(f"/failures/{path}", {"pipeline": pages.project.name, **form})
    assert (answer.status_code, pages.host.triggered) == (400, [])
    assert reason in answer.text
    assert len(letters(pages.project)) == 3


@pytest.mark.parametrize("path", ["/failures/replay", "/failures/dismiss"])
def test_changes_need_the_right_and_the_token(pages: StatusPages, path: str) -> None:
    form = {"pipeline": pages.project.name, "scope": "filter", "reason": "because"}
    assert pages("").post(path, data=form).status_code == 401
    refused = pages("viewer").change(path, form)
    assert (refused.status_code, "You may not start replay_dead_letters" in refused.text) == (403, True)
    assert pages("admin").post(path, data=form).status_code == 403
    foreign = {**form, "csrf_token": pages("viewer").token()}  # somebody else's token
    assert pages("admin").post(path, data=foreign).status_code == 403
    assert (len(letters(pages.project)), pages.host.triggered) == (3, [])


def test_a_viewer_sees_no_buttons_and_why(pages: StatusPages) -> None:
    page = pages("viewer").get("/failures").text
    assert "<button class" not in page
    assert 'type="checkbox"' not in page
    assert "you need the right to start" in page


def test_a_hostile_letter_is_text_and_nothing_else(pages: StatusPages) -> None:
    record(pages.project, Letter(HOSTILE, HOSTILE, "extract", HOSTILE, HOSTILE, "run", HOSTILE))
    for query in ({}, {"error_class": HOSTILE}, {"key": HOSTILE}, {"since": HOSTILE}):
        page = pages("admin").get("/failures", params=query).text
        assert "<script>alert" not in page
    page = pages("admin").get("/failures").text
    assert "\x01" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;{{7*7}}␁‹U+202E›" in page


def test_without_failures_the_page_says_so(project: Project) -> None:
    project.put("a.txt", "fine")
    project.run()
    assert "Nothing has failed" in StatusPages(project)("viewer").get("/failures").text


def test_history_shows_resolved_letters(pages: StatusPages) -> None:
    with pages.project.open() as runtime:
        runtime.ledger.dead_letters.resolve(pages.project.name, "text", ["a/blank.txt"])
        assert runtime.ledger.dead_letters.list(LetterFilter(state="resolved"))
    page = pages("viewer").get("/failures", params={"state": "resolved"}).text
    assert shown_keys(page) == ["a/blank.txt"]
