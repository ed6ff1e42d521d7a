"""`etl ui`: the same pages without Airflow, on this machine only, for whoever has the printed link."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import Browser, expect

from include.embedding_etl.places import PROJECT_ROOT
from include.local_stack.configuration import StackConfiguration

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def link(demo: StackConfiguration) -> Iterator[str]:
    """What `etl ui` prints once it can be asked."""
    command = [sys.executable, "-c", "from include.embedding_etl.cli import app; app()", "ui", "--port", "0"]
    environment = {**os.environ, **demo.demo, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    with subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            printed = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", process.stdout.readline())
            assert printed
            listening = [
                each.laddr.ip for each in psutil.Process(process.pid).net_connections("tcp") if each.status == "LISTEN"
            ]
            assert set(listening) <= {"127.0.0.1"}
            yield printed.group()
        finally:
            process.terminate()


def test_without_the_token_nothing_is_shown(browser: Browser, link: str) -> None:
    page = browser.new_page()
    address = urlsplit(link)
    for path in ("/overview", "/static/app.css", "/?token=wrong"):
        answer = page.goto(f"http://{address.netloc}{path}")
        assert answer is not None
        assert answer.status == 401
    page.close()


def test_the_link_opens_the_pages_and_they_stay_open(browser: Browser, link: str) -> None:
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.goto(link)
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    expect(page.get_by_text("agrees", exact=True)).to_have_count(5, timeout=60_000)
    page.get_by_role("link", name="Objects").click()
    expect(page.get_by_role("link", name="drawings/yellow moon.webp")).to_be_visible()
    assert "token" not in page.url
    page.get_by_role("link", name="Collections").click()
    expect(page.get_by_text("There is no Airflow here").first).to_be_visible()
    assert complaints == []
    page.close()
