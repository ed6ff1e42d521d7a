"""The real demo in a real Airflow, and Debian's Chromium with a person logged in. `make test-browser` runs these."""

import io
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, FloatRect, FrameLocator, Page, expect, sync_playwright
from rich.console import Console

from include.embedding_etl.places import PROJECT_ROOT
from include.local_stack.airflow_client import AirflowClient
from include.local_stack.configuration import StackConfiguration, configure
from include.local_stack.demo import run_demo
from include.local_stack.embedded import embedded_stack
from include.local_stack.paths import DAGS_DIR_VARIABLE
from include.local_stack.process import kill_leftovers
from tests.fixtures_stack import stack_environment

PREFIX = "/embedding-etl"
DAGS = ("reindex", "rollback", "replay_dead_letters")
TIMEOUT_MS = 120_000  # the machine may be slow, and a first search loads its model
RUN_MS = 600_000
expect.set_options(timeout=TIMEOUT_MS)
SETTLED = """() => {
    const waiting = document.querySelectorAll(".htmx-request, .htmx-swapping, .htmx-settling").length;
    const map = document.querySelector("#map .map-state");
    return document.readyState === "complete" && !waiting && !map?.textContent.startsWith("Reading");
}"""
MOST_HEIGHT, COLOURS = 1600, 256  # of a screenshot
SCREENSHOTS = os.environ.get("SCREENSHOTS", "")  # a directory, such as docs/ui


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackConfiguration]:
    """A green demo of this test's own; its DAGs may run."""
    directory = tmp_path_factory.mktemp("browser")
    pipelines = directory / "pipelines"
    pipelines.mkdir()
    shutil.copy(PROJECT_ROOT / "include" / "pipelines" / "demo.yaml", pipelines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ETL_PIPELINES_DIR", str(pipelines))
        configuration = configure({**stack_environment(directory), DAGS_DIR_VARIABLE: str(PROJECT_ROOT / "dags")})
        try:
            printed = io.StringIO()
            green = run_demo(embedded_stack(configuration), Console(file=printed, width=160))
            sys.stdout.write(printed.getvalue())
            assert green
            with AirflowClient(configuration) as client:
                for dag_id in DAGS:
                    client.wait_for_dag(dag_id, 0, 120)
                    client.unpause(dag_id)
            yield configuration
        finally:
            kill_leftovers(configuration.paths)


@pytest.fixture(scope="session")
def airflow(demo: StackConfiguration) -> Iterator[AirflowClient]:
    with AirflowClient(demo) as client:
        yield client


@pytest.fixture(scope="session")
def bucket(demo: StackConfiguration) -> Any:
    """The demo's source."""
    session = boto3.Session(demo.demo["AWS_ACCESS_KEY_ID"], demo.demo["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1")
    proxyless = Config(s3={"addressing_style": "path"}, proxies={})
    store = session.resource("s3", endpoint_url=demo.demo["ETL_S3_ENDPOINT"], config=proxyless)
    return store.Bucket(demo.demo["ETL_BUCKET"])


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.fail("there is no Chromium: run `make test-browser`, or install Debian's package chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def session(browser: Browser, demo: StackConfiguration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cookies of somebody who has logged in by Airflow's own form."""
    context = browser.new_context()
    log_in(context.new_page(), demo)
    path = tmp_path_factory.mktemp("session") / "cookies.json"
    context.storage_state(path=path)
    context.close()
    return path


@pytest.fixture
def complaints() -> list[str]:
    """What browsers have complained about in this test: errors of scripts, refused requests, breaches of the policy."""
    return []


@pytest.fixture
def new_page(browser: Browser, session: Path, complaints: list[str]) -> Iterator[Callable[..., Page]]:
    """An empty page of somebody who is logged in; whatever the browser complains about fails the test."""
    contexts: list[BrowserContext] = []

    def make(theme: str = "light", width: int = 1400, bypass_csp: bool = False) -> Page:
        context = browser.new_context(
            storage_state=session,
            viewport={"width": width, "height": 1000},
            color_scheme="dark" if theme == "dark" else "light",
            bypass_csp=bypass_csp,
        )
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
        page = context.new_page()
        page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def open_page(demo: StackConfiguration, new_page: Callable[..., Page]) -> Callable[..., Page]:
    """Opens a page of the app by itself, not in Airflow's frame."""

    def open_it(path: str, **look: Any) -> Page:
        page = new_page(**look)
        page.goto(f"{demo.demo['ETL_AIRFLOW_URL']}{PREFIX}{path}", wait_until="networkidle")
        settle(page)
        return page

    return open_it


@pytest.fixture
def in_airflow(demo: StackConfiguration, new_page: Callable[..., Page]) -> Callable[[str], tuple[Page, FrameLocator]]:
    """Opens the pages as people do: by Airflow's navigation, then by their own."""

    def open_it(name: str) -> tuple[Page, FrameLocator]:
        page = new_page()
        page.goto(demo.demo["ETL_AIRFLOW_URL"])
        page.get_by_role("link", name="Embedding ETL").click()
        frame = page.frame_locator("iframe")
        frame.get_by_role("heading", name="Overview", level=1).wait_for()
        frame.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
        frame.get_by_role("heading", name=name, level=1).wait_for()
        return page, frame

    return open_it


def log_in(page: Page, demo: StackConfiguration) -> None:
    """By Airflow's form."""
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(demo.demo["ETL_AIRFLOW_URL"])
    page.get_by_label("Username").fill(demo.demo["ETL_AIRFLOW_USER"])
    page.get_by_label("Password").fill(demo.demo["ETL_AIRFLOW_PASSWORD"])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Dags", exact=True).wait_for()


def see_run_end(page: Page, state: str = "Success") -> None:
    """On Airflow's page of a run: watch it until it has ended."""
    page.wait_for_url("**/dags/*/runs/*")
    # The first with words is that of the run: its tasks come below, and what leads here has signs without words.
    badge = page.get_by_test_id("state-badge").filter(has_text=re.compile(r"\w")).first
    expect(badge).to_have_text(re.compile("Success|Failed"), timeout=RUN_MS)
    expect(badge).to_have_text(state)


def settle(page: Page) -> None:
    """Wait until the parts that a page loads itself are there: htmx's fragments, the points of the map."""
    page.wait_for_function(SETTLED)


def keep_picture(page: Page, name: str) -> None:
    """Keep a screenshot where SCREENSHOTS asks for it; few colours make it small."""
    if not SCREENSHOTS:
        return
    directory = PROJECT_ROOT / SCREENSHOTS
    directory.mkdir(parents=True, exist_ok=True)
    size = page.evaluate("[document.documentElement.clientWidth, document.documentElement.scrollHeight]")
    clip = FloatRect(x=0, y=0, width=size[0], height=min(size[1], MOST_HEIGHT))
    taken = Image.open(io.BytesIO(page.screenshot(full_page=True, clip=clip))).convert("RGB")
    taken.quantize(COLOURS, kmeans=2, dither=Image.Dither.NONE).save(directory / f"{name}.png", optimize=True)
