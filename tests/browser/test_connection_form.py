"""Milvus as a connection type, as a person meets it: the form in Airflow, and the Test button of what was saved."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from include.local_stack.configuration import StackConfiguration
from tests.browser.conftest import keep_picture
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(900)]


def add_connection(page: Page, name: str, uri: str) -> None:
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.locator("[name=connection_id]").fill(name)
    form.get_by_role("combobox").first.click()
    page.keyboard.type("milvus")
    form.get_by_role("option", name="Milvus").click()
    form.locator("[name=host]").fill(uri)
    form.locator("[name=port]").fill(uri.rpartition(":")[2])
    keep_picture(page, f"connection-form-{name}")
    form.get_by_role("button", name="Save").click()
    form.wait_for(state="hidden")


def test_the_form_and_its_test_button(demo: StackConfiguration, new_page: Callable[..., Page]) -> None:
    page = new_page()
    page.goto(f"{demo.demo['ETL_AIRFLOW_URL']}/connections")
    for name, uri, status, message in (
        ("right", demo.demo["ETL_MILVUS_URI"], True, "Connected to Milvus milvus_lite"),
        ("nothing", f"http://127.0.0.1:{free_port()}", False, "Nothing listens on 127.0.0.1"),
    ):
        add_connection(page, name, uri)
        row = page.get_by_role("row").filter(has_text=uri)
        with page.expect_response("**/api/v2/connections/test") as answered:
            row.get_by_role("button", name="Test Connection").click()
        answer = answered.value.json()
        assert answer["status"] is status
        assert answer["message"].startswith(message)
        if not status:
            expect(page.get_by_text(message)).to_be_visible()
        keep_picture(page, f"connection-test-{name}")
