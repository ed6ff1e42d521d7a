"""Objects whose keys, metadata and texts are scripts, or are very long, or turn round: shown as text, and harmless."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import Dialog, Page, expect

from include.local_stack.airflow_client import AirflowClient
from include.local_stack.configuration import StackConfiguration
from include.local_stack.corpus.hostile import truncated_jpeg
from include.local_stack.corpus.pictures import drawn, encode_picture
from include.local_stack.drawings import Scene
from tests.browser.conftest import RUN_MS, keep_picture, settle

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(1800)]
SCRIPT = "<script>window.hacked=1</script>"
HANDLER = '"><img src=x onerror=window.hacked=1>'
TEMPLATE = "{{7*7}}"
ALL_THREE = f"{SCRIPT}{HANDLER}{TEMPLATE}"
SCRIPT_KEY = f"{HANDLER}/{ALL_THREE}.txt"  # its folder is a group of the map
FAILED_KEY = f"untrusted/{ALL_THREE}.jpg"
LONG_KEY = "untrusted/" + "/".join(character * 225 for character in "abcd") + ".txt"
TURNED_KEY = "untrusted/שלום עליכם مرحبا بالعالم 🦄🏳️‍🌈\u202egpj.exe.png"
KEYS = {"script": SCRIPT_KEY, "failed": FAILED_KEY, "long": LONG_KEY, "turned": TURNED_KEY}
SENTENCE = "A sentence about walruses on drifting ice"
PAGES = {
    "overview": "/overview",
    "failures": "/failures",
    "dismissed": "/failures?" + urlencode({"state": "all", "key": FAILED_KEY, "error_class": ALL_THREE}),
    "objects": "/objects?prefix=" + quote('"><'),
    "objects-long": "/objects?prefix=untrusted/",
    "objects-none": "/objects?" + urlencode({"prefix": ALL_THREE, "run": ALL_THREE}),
    **{f"object-{name}": f"/objects/demo?{urlencode({'key': key})}" for name, key in KEYS.items()},
    "search": "/search?" + urlencode({"lane": "text", "q": SENTENCE, "top": 3}),
    "search-echo": "/search?" + urlencode({"lane": "multimodal", "q": ALL_THREE, "top": 100}),
    "search-refused": "/search?" + urlencode({"lane": "text", "q": "x", "filter": ALL_THREE}),
    "collections": "/collections",
    "map": "/map?" + urlencode({"lane": "demo/multimodal", "colour": "prefix"}),
    "missing": "/objects/demo?" + urlencode({"key": ALL_THREE}),
}
PICTURED = ("failures", "objects-long", "object-script")
REFUSED = {
    "missing": "404",
    "object-failed": "422",
}  # no such object; no preview of half a picture: browsers write it down


@pytest.fixture(scope="module")
def ingested(demo: StackConfiguration, airflow: AirflowClient, bucket: Any) -> Iterator[None]:
    """They are in the source, and a run has seen them."""
    metadata = {"note": ALL_THREE}
    bodies = {
        SCRIPT_KEY: f"{SENTENCE}. {ALL_THREE}".encode(),
        FAILED_KEY: truncated_jpeg(),
        LONG_KEY: f"{SENTENCE}, again. {'x' * 2000} {ALL_THREE}".encode(),
        TURNED_KEY: encode_picture(drawn(Scene("ring", "blue", "large", "in the center", "white")), "PNG"),
    }
    for key, body in bodies.items():
        bucket.put_object(Key=key, Body=body, Metadata=metadata)
    run_id = airflow.trigger("ingest__demo")
    assert airflow.follow("ingest__demo", run_id, RUN_MS / 1000, lambda _: None) == "success"
    yield
    for key in bodies:
        bucket.Object(key).delete()


@pytest.fixture
def dialogs() -> list[str]:
    return []


def watch(page: Page, dialogs: list[str]) -> None:
    """Note what a script that ran would do."""

    def note(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", note)


def assert_harmless(page: Page, dialogs: list[str]) -> None:
    """Nothing has run; nothing foreign has become part of the page."""
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("script:not([src])").count() == 0
    assert dialogs == []


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("name", PAGES)
def test_no_page_runs_what_an_object_says(
    ingested: None, open_page: Callable[..., Page], dialogs: list[str], name: str, width: int, complaints: list[str]
) -> None:
    page = open_page(PAGES[name], width=width)
    watch(page, dialogs)
    for summary in page.locator("main summary").all():
        summary.click()
    settle(page)
    if name in PICTURED:
        keep_picture(page, f"untrusted-{name}{'' if width > 390 else '-narrow'}")
    assert_harmless(page, dialogs)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if name in REFUSED:
        complaints[:] = [line for line in complaints if REFUSED[name] not in line]


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("failures", [FAILED_KEY]),
        ("objects", [SCRIPT_KEY]),
        ("objects-long", [FAILED_KEY, LONG_KEY]),
        ("object-script", [SCRIPT_KEY, ALL_THREE, f"{SENTENCE}. {ALL_THREE}"]),
        ("object-failed", [FAILED_KEY, ALL_THREE]),
        ("object-long", [LONG_KEY]),
        ("object-turned", [TURNED_KEY.replace("\u202e", "‹U+202E›")]),
        ("search", [SCRIPT_KEY, f"note = {ALL_THREE}", f"{SENTENCE}. {ALL_THREE}"]),
        ("map", [HANDLER]),
    ],
)
def test_it_is_shown_as_it_is(
    ingested: None, open_page: Callable[..., Page], name: str, texts: list[str], complaints: list[str]
) -> None:
    page = open_page(PAGES[name])
    for text in texts:
        expect(page.locator("main")).to_contain_text(text)
    if name in REFUSED:
        expect(page.get_by_text("No preview can be made of it.")).to_be_visible()
        complaints[:] = [line for line in complaints if REFUSED[name] not in line]


def test_airflow_shows_a_question_about_it_as_text(
    ingested: None, demo: StackConfiguration, airflow: AirflowClient, new_page: Callable[..., Page], dialogs: list[str]
) -> None:
    """The question of a reindex names keys and texts; Airflow renders it as Markdown."""
    run_id = airflow.trigger("reindex", pipeline="demo", lane="text", rebuild="index", index={"type": "FLAT"})
    page = new_page()
    watch(page, dialogs)
    run = f"{demo.demo['ETL_AIRFLOW_URL']}/dags/reindex/runs/{quote(run_id, safe='')}"
    page.goto(run)
    page.get_by_text("Awaiting Input").first.wait_for(timeout=RUN_MS)
    page.goto(f"{run}/tasks/approve/required_actions")
    page.get_by_text("What is near").first.wait_for()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0
    assert dialogs == []
    page.get_by_role("button", name="Reject").click()
    assert airflow.follow("reindex", run_id, RUN_MS / 1000, lambda _: None) == "failed"
