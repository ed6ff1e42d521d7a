"""What people do with the pages, in the real Airflow of the demo, from Airflow's login to what came of it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, FrameLocator, Page, expect

from include.local_stack.configuration import StackConfiguration
from include.local_stack.corpus.catalogue import corpus_objects
from include.local_stack.corpus.files import write_query_sound
from include.local_stack.corpus.pictures import encode_picture, photograph
from tests.browser.conftest import RUN_MS, keep_picture, log_in, see_run_end

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(1800)]
InAirflow = Callable[[str], tuple[Page, FrameLocator]]
TRUNCATED = "hostile/truncated.jpg"  # a dead letter of two lanes
LOCKED = "hostile/locked.pdf"


def test_the_navigation_of_airflow_opens_the_pages_in_its_own(browser: Browser, demo: StackConfiguration) -> None:
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    try:
        page = context.new_page()
        log_in(page, demo)
        page.get_by_role("link", name="Embedding ETL").click()
        frame = page.frame_locator("iframe")
        frame.get_by_role("heading", name="Overview", level=1).wait_for()
        expect(frame.get_by_text("agrees", exact=True)).to_have_count(5)
        expect(page.get_by_role("link", name="Dags", exact=True)).to_be_visible()  # still around it
        keep_picture(page, "in-airflow")
        frame.get_by_role("link", name=re.compile("ingest__demo")).first.click()
        page.wait_for_url("**/dags/ingest__demo/runs/*")  # a run opens in Airflow, not in the frame
    finally:
        context.close()


def test_a_repaired_object_is_replayed_and_becomes_indexed(in_airflow: InAirflow, bucket: Any) -> None:
    page, frame = in_airflow("Failures")
    rows = frame.get_by_role("row").filter(has=frame.get_by_role("link", name=TRUNCATED, exact=True))
    expect(rows).to_have_count(2)
    bucket.put_object(Key=TRUNCATED, Body=encode_picture(photograph("china"), "JPEG"))
    for row in rows.all():
        row.get_by_role("checkbox").check()
    frame.get_by_role("button", name="Replay").click()
    frame.get_by_role("link", name="Open the run in Airflow").click()
    see_run_end(page)
    _, frame = in_airflow("Objects")
    frame.get_by_label("Key, or how it begins").fill(TRUNCATED)
    frame.get_by_role("button", name="Find").click()
    frame.get_by_role("link", name=TRUNCATED, exact=True).click()
    frame.get_by_role("heading", name="Object", level=1).wait_for()
    lanes = frame.get_by_role("table", name="What became of it in each lane")
    expect(lanes.get_by_text("indexed", exact=True)).to_have_count(2)
    expect(frame.get_by_role("img", name=re.compile("Preview of"))).to_be_visible()
    expect(frame.get_by_text("resolved", exact=True)).to_have_count(2)


def test_a_letter_that_nobody_needs_is_dismissed_with_a_reason(in_airflow: InAirflow) -> None:
    _, frame = in_airflow("Failures")
    letter = frame.get_by_role("row").filter(has=frame.get_by_role("link", name=LOCKED, exact=True))
    letter.get_by_role("checkbox").check()
    frame.get_by_label("Reason to dismiss").fill("The password is lost")
    frame.get_by_role("button", name="Dismiss").click()
    expect(frame.get_by_role("status")).to_contain_text("1 dead letter is dismissed")
    frame.get_by_role("link", name="Back to the failures").click()
    frame.get_by_role("heading", name="Failures", level=1).wait_for()
    expect(letter).to_have_count(0)
    frame.get_by_label("State").select_option("dismissed")
    frame.get_by_role("button", name="Filter").click()
    letter.locator("summary").click()
    expect(letter).to_contain_text("The password is lost")


def test_a_sentence_finds_the_picture_that_it_describes(in_airflow: InAirflow) -> None:
    key = "drawings/small green star.webp"
    caption = next(item.meta["caption"] for item in corpus_objects() if item.key == key)
    _, frame = in_airflow("Search")
    form = frame.get_by_role("form", name="Search by a sentence")
    form.get_by_label("Sentence").fill(caption)
    form.get_by_label("Lane").select_option("multimodal")
    form.get_by_label("Filter").fill("media_type=image/webp")
    form.get_by_role("button", name="Search").click()
    first = frame.locator("#found li").first
    expect(first.get_by_role("link", name=key, exact=True)).to_be_visible()
    picture = first.get_by_role("img")
    expect(picture).to_be_visible()
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("image => image.naturalWidth") > 0


def test_a_sound_finds_sounds_like_it(in_airflow: InAirflow, tmp_path: Path) -> None:
    _, frame = in_airflow("Search")
    form = frame.get_by_role("form", name="Search by a file")
    form.get_by_label("File").set_input_files(write_query_sound(tmp_path / "a bell.wav"))
    form.get_by_label("Lane").select_option("audio")
    form.get_by_role("button", name="Search").click()
    first = frame.locator("#found li").first
    expect(first.get_by_role("link").first).to_have_text(re.compile("^sounds/bell/"))
    player = first.locator("audio")
    expect(player).to_be_visible()
    seconds = player.evaluate(
        """player => new Promise((done, failed) => {
            player.addEventListener("loadedmetadata", () => done(player.duration));
            player.addEventListener("error", () => failed(new Error(player.error?.message)));
            player.load(); player.preload = "metadata";
        })"""
    )
    assert seconds > 0.5


def test_a_reindex_is_started_approved_seen_and_taken_back(in_airflow: InAirflow, demo: StackConfiguration) -> None:
    file = Path(demo.paths.local.parent, "pipelines", "demo.yaml")
    settings = yaml.safe_load(file.read_text())
    settings["lanes"]["text"]["chunk"] = {"max_tokens": 64}
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    page, frame = in_airflow("Collections")
    before = live_collection(frame)
    lane = frame.get_by_role("region", name="text alias demo_text")
    lane.locator("summary", has_text="Reindex…").click()
    lane.get_by_role("button", name="Start the reindex of demo_text").click()
    frame.get_by_role("link", name="Watch the run in Airflow").click()
    page.wait_for_url("**/dags/reindex/runs/*")
    approve(page)
    see_run_end(page)
    page, frame = in_airflow("Collections")
    after = live_collection(frame)
    assert after != before
    lane = frame.get_by_role("region", name="text alias demo_text")
    row = lane.get_by_role("row").filter(has=frame.get_by_role("rowheader", name=before, exact=True))
    expect(row).to_contain_text("previous")
    row.locator("summary", has_text="Roll back…").click()
    row.get_by_role("button", name=f"Roll back to {before}").click()
    frame.get_by_role("link", name="Watch the run in Airflow").click()
    see_run_end(page)
    _, frame = in_airflow("Collections")
    assert live_collection(frame) == before


def live_collection(frame: FrameLocator) -> str:
    """What readers of lane text see, by the page."""
    lane = frame.get_by_role("region", name="text alias demo_text")
    row = lane.get_by_role("row").filter(has=frame.get_by_text("live", exact=True))
    return row.get_by_role("rowheader").inner_text()


def approve(page: Page) -> None:
    """From Airflow's page of a run: wait for its question, read it, say yes, go back to the run."""
    run = page.url
    page.get_by_text("Awaiting Input").first.wait_for(timeout=RUN_MS)
    page.get_by_role("table").get_by_role("link", name="approve", exact=True).click()
    page.get_by_role("link", name=re.compile("Required Action")).click()
    page.get_by_text("What is near").first.wait_for()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Awaiting Input")).to_have_count(0)
    page.goto(run)
