"""Fixtures: Chromium, and the page in it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.support.app import Server
from tests.support.chromium import CHROMIUM, FLAGS, PATIENCE


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def blank(browser: Browser, server: Server) -> Iterator[Page]:
    """An empty page, for an address of the app. It fails its test for any error on the console and any request to
    another address."""
    opened = browser.new_page(viewport={"width": 1440, "height": 1000})
    opened.set_default_timeout(PATIENCE)
    wrong: list[str] = []

    def note_error(message: ConsoleMessage) -> None:
        if message.type == "error":
            wrong.append(message.text)

    def note_foreign(request: Request) -> None:
        if not request.url.startswith((server.url, "data:", "blob:")):
            wrong.append(f"request to {request.url}")

    opened.on("console", note_error)
    opened.on("request", note_foreign)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    yield opened
    opened.close()
    assert not wrong


@pytest.fixture
def page(blank: Page, server: Server) -> Page:
    """The page, opened and drawn, with the checks of `blank`."""
    blank.goto(server.url)
    expect(blank.locator("#v-early")).to_have_count(0)
    return blank
