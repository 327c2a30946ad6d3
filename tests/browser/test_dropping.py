"""Files dropped on the page as from a file manager: Chromium hits the element, and opens a file that nobody takes."""

import re

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.support.app import ROOT
from tests.support.page_actions import EXAMPLE, drop, open_tab, upload

DECIDED = re.compile("^(Refer|No referral)$")
FIRST, SECOND = ROOT / "examples" / EXAMPLE["skin"], ROOT / "examples/skin/naevus.jpg"


def shown(panel: Locator) -> str:
    return str(panel.locator(".v-base").get_attribute("src"))


@pytest.mark.parametrize("place", [".v-screen", ".v-image .source-selection", ".v-card", "[id^=section-]"])
def test_a_second_image_can_be_dropped_anywhere_on_the_tab(page: Page, place: str) -> None:
    panel = open_tab(page, "skin")
    drop(page, panel.locator(".v-image"), FIRST)
    expect(panel.locator(".v-word")).to_have_text(DECIDED)
    expect(panel.locator(".v-base")).to_be_visible()
    first = shown(panel)
    drop(page, panel.locator(place).first, SECOND)
    expect(panel.locator(".v-base")).not_to_have_attribute("src", first)
    expect(panel.locator(".v-word")).to_have_text(DECIDED)
    assert len(page.context.pages) == 1, "no file is opened in a tab of its own"


def test_an_image_can_be_dropped_after_a_refusal(page: Page) -> None:
    panel = open_tab(page, "skin")
    upload(panel, FilePayload(name="letter.png", mimeType="image/png", buffer=b"no picture"))
    expect(panel.get_by_role("alert")).to_contain_text("This file is not an image")
    drop(page, panel.locator(".v-image"), FIRST)
    expect(panel.locator(".v-word")).to_have_text(DECIDED)


def test_a_file_that_no_tab_takes_is_not_opened(page: Page) -> None:
    page.get_by_role("tab", name="Evidence").click()
    figure = page.get_by_role("tabpanel").filter(visible=True).locator("figure").first
    expect(figure).to_be_visible()
    opened: list[str] = []
    page.context.on("page", lambda other: opened.append(other.url))
    drop(page, figure, FIRST)
    expect(figure).to_be_visible()
    page.wait_for_timeout(1000)  # nothing happens, so there is nothing to wait for
    assert not opened
    # ... and the fields for files still take one
    page.get_by_role("tab", name="Many images").click()
    panel = page.get_by_role("tabpanel").filter(visible=True)
    drop(page, panel.get_by_role("button", name=re.compile("upload|drop", re.IGNORECASE)).first, FIRST)
    expect(panel.get_by_text(FIRST.stem).first).to_be_visible()
