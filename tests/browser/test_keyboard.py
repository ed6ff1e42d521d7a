"""The pages without a mouse: what has the focus is seen, the content is one key away, Enter sends a form."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(900)]
PAGES = {
    "overview": "/overview",
    "failures": "/failures",
    "objects": "/objects",
    "object": "/objects/demo?key=drawings/yellow%20moon.webp",
    "search": "/search",
    "collections": "/collections",
    "map": "/map?lane=demo/multimodal",
}
FOCUSED = """() => {
    const focused = document.activeElement, style = getComputedStyle(focused), box = focused.getBoundingClientRect();
    return {
        tag: focused.tagName, text: focused.textContent.trim(), outlined: style.outlineStyle !== "none"
            && parseFloat(style.outlineWidth) > 1, seen: box.width > 1 && box.right > 0,
    };
}"""
MOST_TABS = 60


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_tab_goes_from_the_skip_link_on_and_shows_where_it_is(
    open_page: Callable[..., Page], name: str, theme: str
) -> None:
    page = open_page(PAGES[name], theme=theme)
    page.keyboard.press("Tab")
    passed = [page.evaluate(FOCUSED)]
    assert passed[0]["text"] == "Skip to the content"
    while len(passed) < MOST_TABS:
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused["tag"] == "BODY":
            break
        passed.append(focused)
    assert [focused for focused in passed if not (focused["outlined"] and focused["seen"])] == []
    links = [focused["text"] for focused in passed[1:7]]
    assert links == ["Overview", "Failures", "Objects", "Search", "Collections", "Map"]


def test_the_skip_link_leads_to_the_content(open_page: Callable[..., Page]) -> None:
    page = open_page("/objects")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Pipeline")).to_be_focused()


def test_enter_sends_a_form(open_page: Callable[..., Page]) -> None:
    page = open_page("/objects")
    page.get_by_label("Key, or how it begins").focus()
    page.keyboard.type("drawings/yellow")
    page.keyboard.press("Enter")
    expect(page.get_by_role("rowheader")).to_have_text(["drawings/yellow moon.webp"])
