"""Every page in a browser: both themes, wide and narrow, without complaints, and usable without a mouse or eyes."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import keep_picture

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(900)]
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
PAGES = {
    "overview": "/overview",
    "failures": "/failures",
    "objects": "/objects",
    "object": "/objects/demo?key=drawings/yellow%20moon.webp",
    "search": "/search?pipeline=demo&lane=multimodal&q=a+large+yellow+moon&filter=media_type%3Dimage%2Fwebp",
    "collections": "/collections",
    "map": "/map?lane=demo/multimodal",
}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_every_page_opens_in_both_themes(open_page: Callable[..., Page], name: str, theme: str) -> None:
    page = open_page(PAGES[name], theme=theme)
    keep_picture(page, f"{name}-{theme}")
    assert page.locator("h1").inner_text()
    assert page.locator("html").get_attribute("data-theme") == theme
    assert page.locator("[role=alert]").count() == 0


@pytest.mark.parametrize("name", PAGES)
def test_no_page_is_wider_than_a_telephone(open_page: Callable[..., Page], name: str) -> None:
    page = open_page(PAGES[name], width=390)
    keep_picture(page, f"{name}-narrow")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize(("theme", "width"), [("light", 1400), ("dark", 1400), ("light", 390)])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_serious_violation(open_page: Callable[..., Page], name: str, theme: str, width: int) -> None:
    page = open_page(PAGES[name], theme=theme, width=width, bypass_csp=True)
    for summary in page.locator("main summary").all():  # forms and tables that are folded away
        summary.click()
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document)")
    assert len(found["passes"]) > 15  # it has looked
    serious = [
        f"{each['id']}: {each['help']}: {[node['html'] for node in each['nodes'][:3]]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]
    assert serious == []
