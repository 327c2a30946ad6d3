"""The page without a connection to the server, and when the server refuses an upload."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect

from src.page.translation import translated_to
from src.page.views.page_frame import NOT_SENT
from src.server.bodies import TOO_LARGE
from tests.support.app import ROOT, Server
from tests.support.chromium import PATIENCE
from tests.support.page_actions import EXAMPLE, open_tab, upload

DECIDED = re.compile("^(Refer|No referral)$")
UPLOADS = re.compile(r"/gradio_api/upload\?")


@pytest.fixture
def visited(browser: Browser, server: Server) -> Iterator[Page]:
    """The page, opened. An error on the console, which every lost connection writes, is allowed."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.goto(server.url)
    yield page
    page.close()


def read_example(page: Page, name: str) -> Locator:
    panel = open_tab(page, "skin")
    panel.get_by_role("button", name=name).click()
    expect(panel.locator(".v-word")).to_have_text(DECIDED)
    return panel


def test_the_page_loads_again_and_reads_once_the_server_is_back(visited: Page) -> None:
    panel = read_example(visited, "Symmetric brown lesion")
    visited.context.set_offline(True)
    panel.get_by_role("button", name="Asymmetric lesion").click()
    lost = visited.get_by_text("The connection to the server is lost.")
    expect(lost).to_be_visible()
    with visited.expect_event("load"):
        visited.context.set_offline(False)
    expect(lost).to_have_count(0)
    read_example(visited, "Asymmetric lesion")


def test_an_image_that_is_lost_while_it_is_read_is_not_awaited_for_ever(visited: Page) -> None:
    panel = read_example(visited, "Symmetric brown lesion")
    visited.route("**/queue/join*", lambda route: route.abort())
    panel.get_by_role("button", name="Asymmetric lesion").click()
    expect(panel.get_by_role("alert")).to_contain_text("The connection to the server is lost.")
    expect(panel.locator(".v-reading")).to_have_count(0)


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [(None, "", NOT_SENT), (413, TOO_LARGE.sentence, TOO_LARGE.sentence), (413, "{}", NOT_SENT)],
)
def test_an_upload_that_fails_says_so_in_the_card(visited: Page, status: int | None, body: str, sentence: str) -> None:
    panel = read_example(visited, "Symmetric brown lesion")
    visited.route(
        UPLOADS,
        lambda route: route.abort() if status is None else route.fulfill(status=status, body=body),
    )
    upload(panel, ROOT / "examples" / EXAMPLE["skin"])
    expect(panel.get_by_role("alert")).to_have_text(re.compile(rf"^\s*Not read\s*{re.escape(sentence)}\s*$"))
    expect(visited.get_by_test_id("toast-text")).to_have_text(sentence)
    expect(panel.get_by_role("img", name="heat map over it")).to_have_count(0)
    expect(panel.get_by_role("button", name="Read again")).not_to_be_visible()
    visited.unroute(UPLOADS)
    upload(panel, ROOT / "examples" / EXAMPLE["skin"])
    expect(panel.locator(".v-word")).to_have_text(DECIDED)


def test_a_file_that_cannot_be_drawn_leaves_no_broken_image(visited: Page) -> None:
    panel = open_tab(visited, "skin")
    upload(panel, FilePayload(name="letter.png", mimeType="image/png", buffer=b"no image"))
    expect(panel.get_by_role("alert")).to_contain_text("This file is not an image")
    drawn = panel.get_by_role("img", name="The image to read.")
    expect(drawn).to_have_css("opacity", "0")
    panel.get_by_role("button", name="Symmetric brown lesion").click()
    expect(panel.locator(".v-word")).to_have_text(DECIDED)
    expect(panel.locator(".image-frame img")).to_have_css("opacity", "1")


def test_messages_and_names_of_gradio_are_in_the_language_of_the_address(browser: Browser, server: Server) -> None:
    page = browser.new_context(locale="en-GB").new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server.url}/?lang=de")
    panel = page.get_by_role("tabpanel").first
    for name in ("Datei hochladen", "Mit der Kamera aufnehmen", "Aus der Zwischenablage einfügen"):
        expect(panel.get_by_role("button", name=name, exact=True)).to_be_visible()
    expect(panel.get_by_role("slider", name="Schieberegler: Schwelle")).to_be_visible()
    expect(panel.get_by_role("spinbutton", name="Zahlenfeld: Schwelle")).to_be_visible()
    expect(panel.get_by_role("button", name="Auf den Ausgangswert zurücksetzen").first).to_be_visible()
    page.get_by_role("tab", name="Viele Bilder").click()
    expect(page.get_by_text("Datei hier ablegen").first).to_be_visible()
    page.get_by_role("tab").first.click()
    page.route(UPLOADS, lambda route: route.abort())
    upload(panel, ROOT / "examples" / EXAMPLE["skin"])
    message = page.get_by_test_id("toast-body")
    expect(message).to_contain_text("Fehler")
    expect(message).to_contain_text(translated_to(NOT_SENT, "de"))
    expect(message.get_by_role("button", name="Schließen")).to_be_visible()
    page.context.close()
