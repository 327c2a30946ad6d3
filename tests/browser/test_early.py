"""src/page/early.js: the drop zone that takes an image before Gradio has drawn the page."""

import base64
import re
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from src.page.translation import catalogue
from src.tasks import TASKS
from tests.support.app import ROOT, Server
from tests.support.axe import violations
from tests.support.page_actions import EXAMPLE

DROP = """(zone, [text, name]) => {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name));
  zone.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer }));
}"""
SCRIPTS = "**/assets/*.js"
KEPT = "It will be read as soon as the page is ready."
LATE = "The page does not load at present. Load it again."


@pytest.fixture
def undrawn(blank: Page, server: Server) -> Iterator[Callable[[str], Callable[[], None]]]:
    """Opens the page with a query, and holds Gradio's scripts back. Returns a function that lets them go."""

    def opening(query: str = "") -> Callable[[], None]:
        blank.route(SCRIPTS, hold)
        blank.goto(f"{server.url}?{query}", wait_until="commit")
        return let_go

    def hold(_: Route) -> None:
        """Playwright continues the request once no route holds it."""

    def let_go() -> None:
        blank.unroute(SCRIPTS)

    yield opening
    let_go()


def zone(page: Page) -> Locator:
    return page.locator("#v-early")


def expect_answer(page: Page, tab: str) -> None:
    """The open tab has the answer to an image, and the early drop zone is gone."""
    expect(page.locator(f"[role=tab][data-tab-id={tab}]")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".v-word:visible")).to_have_text(re.compile("^(Refer|No referral)$"))
    expect(zone(page)).to_have_count(0)


@pytest.mark.parametrize("tab", ["skin", "ultrasound"])
def test_an_image_is_taken_before_the_page_is_drawn(
    blank: Page, undrawn: Callable[[str], Callable[[], None]], tab: str
) -> None:
    let_go = undrawn("" if tab == "skin" else f"tab={tab}")
    expect(zone(blank)).to_be_visible()
    expect(zone(blank).locator("h2")).to_have_text(TASKS[tab].title)
    file = ROOT / "examples" / EXAMPLE[tab]
    zone(blank).locator("input").set_input_files(file)
    expect(zone(blank).get_by_role("status")).to_have_text(f"{file.name}: {KEPT}")
    let_go()
    expect_answer(blank, tab)


def test_an_image_of_any_type_is_dropped(blank: Page, undrawn: Callable[[str], Callable[[], None]]) -> None:
    let_go = undrawn("")
    expect(zone(blank)).to_be_visible()
    content = (ROOT / "examples" / EXAMPLE["skin"]).read_bytes()
    zone(blank).locator("label").evaluate(DROP, [base64.b64encode(content).decode(), "IM000001"])
    expect(zone(blank).get_by_role("status")).to_have_text(f"IM000001: {KEPT}")
    let_go()
    expect_answer(blank, "skin")


def test_it_stands_where_the_page_has_its_drop_zone(blank: Page, undrawn: Callable[[str], Callable[[], None]]) -> None:
    sizes = ((1440, 900), (1280, 720), (1600, 900), (390, 844))

    def places(part: Locator) -> list[list[float]]:
        """Left and upper edge, width and height in a window of each size."""
        found = []
        for width, height in sizes:
            blank.set_viewport_size({"width": width, "height": height})
            box = part.bounding_box()
            assert box
            found.append([box["x"], box["y"], box["width"], box["height"]])
        return found

    let_go = undrawn("")
    expect(zone(blank)).to_be_visible()
    early = places(zone(blank).locator("label"))
    let_go()
    expect(zone(blank)).to_have_count(0)
    for before, after in zip(early, places(blank.locator(".v-place:visible .v-image")), strict=True):
        assert before == pytest.approx(after, abs=8)  # a smaller step is not seen as a jump


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    blank: Page, undrawn: Callable[[str], Callable[[], None]], scheme: Literal["light", "dark"]
) -> None:
    blank.emulate_media(color_scheme=scheme)
    undrawn("")
    expect(zone(blank)).to_be_visible()  # its script has run
    zone(blank).locator("input").set_input_files(ROOT / "examples" / EXAMPLE["skin"])
    expect(zone(blank).get_by_role("status")).to_contain_text(KEPT)
    assert violations(blank) == []


def test_the_keyboard_reaches_it(blank: Page, undrawn: Callable[[str], Callable[[], None]]) -> None:
    undrawn("")
    expect(zone(blank)).to_be_visible()
    blank.keyboard.press("Tab")
    expect(zone(blank).get_by_label("Drop an image here")).to_be_focused()


def test_without_an_image_it_goes_when_the_page_is_drawn(blank: Page, server: Server) -> None:
    blank.goto(server.url)
    expect(blank.locator(".v-place:visible")).to_be_visible()
    expect(zone(blank)).to_have_count(0)
    expect(blank.locator(".v-empty:visible")).to_be_visible()


def test_it_speaks_the_visitors_language(blank: Page, undrawn: Callable[[str], Callable[[], None]]) -> None:
    undrawn("lang=de")
    expect(zone(blank)).to_contain_text(catalogue("de")["Drop an image here"])
    expect(zone(blank)).to_have_attribute("lang", "de")


@pytest.mark.parametrize("tab", ["batch", "evidence", "nothing"])
def test_a_link_to_another_tab_shows_none(blank: Page, undrawn: Callable[[str], Callable[[], None]], tab: str) -> None:
    undrawn(f"tab={tab}")
    expect(blank.locator("gradio-app")).to_be_attached()
    expect(zone(blank)).to_have_count(0)


def test_it_says_that_the_page_is_late(blank: Page, undrawn: Callable[[str], Callable[[], None]]) -> None:
    blank.clock.install()
    undrawn("")
    expect(zone(blank)).to_be_visible()
    blank.clock.fast_forward(31_000)
    expect(zone(blank).get_by_role("status")).to_have_text(LATE)
