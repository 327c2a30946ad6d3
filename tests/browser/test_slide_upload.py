"""The tab "Whole slide" of a page that takes slides: one is sent, read and shown, and a larger file is refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from src.slides.library import EXAMPLES
from tests.support import synthetic_checkpoints
from tests.support.app import Server, running
from tests.support.chromium import PATIENCE


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app with a random network of histopathology, which takes slides of up to 2 MB."""
    folder = synthetic_checkpoints.write(tmp_path_factory.mktemp("checkpoint"), "histopathology")
    with running(folder, {"VIGIL_WEIGHTS_HISTOPATHOLOGY": str(folder), "VIGIL_SLIDE_LIMIT": "2"}) as app:
        yield app


@pytest.fixture
def tab(browser: Browser, local: Server) -> Iterator[Page]:
    """The tab, opened."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.goto(local.url)
    page.get_by_role("tab", name="Whole slide").click()
    yield page
    page.close()


def test_a_slide_is_sent_read_and_shown_to_its_sender_alone(tab: Page, browser: Browser, local: Server) -> None:
    tab.get_by_label("A slide of your own").set_input_files(EXAMPLES / "drawn_node.tif")
    chosen = tab.get_by_label("Slide", exact=True)
    expect(chosen).to_have_value("drawn_node.tif", timeout=120_000)
    expect(tab.locator("#slide-viewer canvas").first).to_be_visible()
    expect(tab.get_by_text("a new one every 93 µm")).to_be_visible()
    assert len([found for found in local.uploads.rglob("slide.tif") if found.is_file()]) == 1
    other = browser.new_page()
    other.goto(local.url)
    other.get_by_role("tab", name="Whole slide").click()
    other.get_by_label("Slide", exact=True).click()
    expect(other.get_by_role("option").first).to_be_visible()
    assert "drawn_node.tif" not in other.get_by_role("option").all_inner_texts()
    other.close()


def test_what_is_no_slide_and_what_is_too_large_is_refused_in_a_sentence(tab: Page, tmp_path: Path) -> None:
    field, status = tab.get_by_label("A slide of your own"), tab.locator(".v-slide-sending")
    large, text, broken = tmp_path / "large.tif", tmp_path / "text.txt", tmp_path / "broken.tif"
    large.write_bytes(bytes(3_000_000))
    text.write_text("no slide")
    broken.write_bytes(b"II*\0 no slide")
    field.set_input_files(large)
    expect(status).to_have_text("A slide may have at most 2 MB.")
    field.set_input_files(text)
    expect(status).to_contain_text("This is no slide in one file")
    field.set_input_files(broken)
    expect(tab.get_by_role("alert").filter(has_text="slide")).to_be_visible()
