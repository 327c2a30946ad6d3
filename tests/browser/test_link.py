"""The page's address: it opens a tab, a model, a threshold and sections, and follows them. The camera, too."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from src.tasks import TASKS
from tests.support.app import Server
from tests.support.chromium import CHROMIUM, FLAGS, PATIENCE
from tests.support.page_actions import open_section, open_tab


def stands(page: Page, tab: str, threshold: float | None) -> None:
    """Wait until this tab is open at this threshold."""
    expect(page.get_by_role("tab", name=tab, exact=True)).to_have_attribute("aria-selected", "true")
    if threshold is not None:
        expect(page.locator(".v-threshold input[type=number]:visible")).to_have_value(f"{threshold:g}")


@pytest.mark.parametrize(
    ("query", "tab", "threshold"),
    [
        ("tab=histopathology&threshold=0.125", TASKS["histopathology"].title, 0.125),
        ("tab=skin&threshold=.5", TASKS["skin"].title, 0.5),
        ("tab=evidence", "Evidence", None),
        ("tab=batch&model=breastmnist-logistic&threshold=0.07", "Many images", 0.07),
        ("tab=breastmnist&model=breastmnist-logistic&threshold=0.11", TASKS["breastmnist"].title, 0.11),
    ],
)
def test_a_link_opens_where_it_was_copied(
    blank: Page, server: Server, query: str, tab: str, threshold: float | None
) -> None:
    blank.goto(f"{server.url}/?{query}")
    stands(blank, tab, threshold)
    if "model=" in query:
        expect(blank.locator("input[type=radio][value=breastmnist-logistic]:visible")).to_be_checked()


@pytest.mark.parametrize(
    "query",
    [
        "tab=nothing&threshold=0.5",
        "tab=constructor&threshold=0.5",
        "tab=skin&threshold=2",
        "tab=skin&threshold=-0.1",
        "tab=skin&threshold=NaN",
        "tab=skin&threshold=0x1",
        "tab=skin&threshold=",
        "tab=skin&model=%3Cimg%20src=x%3E&threshold=1e9",
    ],
)
def test_what_an_address_must_not_say_is_left_aside(blank: Page, server: Server, query: str) -> None:
    blank.goto(f"{server.url}/?{query}")
    stands(blank, TASKS["skin"].title, 0.187)
    assert blank.locator("img[src=x]").count() == 0


def test_the_address_follows_and_is_copied(browser: Browser, server: Server) -> None:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
    page.goto(f"{server.url}/?__theme=dark")
    page.get_by_role("tab", name=TASKS["histopathology"].title).click()
    stands(page, TASKS["histopathology"].title, 0.3)
    page.get_by_role("slider", name="range slider for Threshold").locator("visible=true").fill("0.42")
    page.wait_for_url("**/?__theme=dark&tab=histopathology&threshold=0.42")
    page.get_by_role("tab", name="Evidence").click()
    page.wait_for_url("**/?__theme=dark&tab=evidence")
    page.get_by_role("tab", name=TASKS["histopathology"].title).click()
    page.wait_for_url("**/?__theme=dark&tab=histopathology&threshold=0.42")
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Link copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.url
    page.goto("about:blank")
    page.goto(copied)
    stands(page, TASKS["histopathology"].title, 0.42)
    page.close()


def test_the_address_keeps_the_open_sections(page: Page, server: Server) -> None:
    panel = open_tab(page, "skin")
    open_section(panel, "API")
    page.wait_for_url("**/?tab=skin&open=costs%2Capi")
    panel.get_by_role("button", name="What this threshold costs").click()
    page.wait_for_url("**/?tab=skin&open=api")
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    expect(panel.get_by_label("The call in Python")).to_be_visible()
    expect(panel.locator(".v-costs")).not_to_be_visible()
    panel.get_by_role("button", name="API", exact=False).first.click()
    page.wait_for_url("**/?tab=skin&open=none")
    page.goto(f"{server.url}/?tab=skin&open=nothing,constructor,curves")
    expect(panel.locator(".v-curves figure").first).to_be_visible()
    expect(panel.locator(".v-costs")).not_to_be_visible()


@pytest.fixture
def camera(browser: Browser, server: Server) -> Iterator[Page]:
    """The page where there is a camera: Chromium's own, a green field with a clock."""
    flags = [*FLAGS, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    other = browser.browser_type.launch(executable_path=CHROMIUM, args=flags)
    page = other.new_page(viewport={"width": 390, "height": 844})
    page.set_default_timeout(PATIENCE)
    page.goto(server.url)
    yield page
    other.close()


def test_a_picture_is_taken_with_the_back_camera(camera: Page) -> None:
    camera.evaluate("""() => {
        const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        window.asked = [];
        navigator.mediaDevices.getUserMedia = (what) => { window.asked.push(JSON.stringify(what)); return ask(what) };
    }""")
    camera.get_by_role("button", name="Capture from camera").locator("visible=true").click()
    camera.get_by_title("grant webcam access").click()
    # As a person would: when there is something to be seen.
    camera.wait_for_function("() => [...document.querySelectorAll('video')].some((video) => video.videoWidth > 0)")
    camera.get_by_role("button", name="capture photo").click()
    expect(camera.locator(".v-decision:visible")).to_be_visible()
    (asked,) = camera.evaluate("window.asked")
    assert json.loads(asked)["video"]["facingMode"] == {"ideal": "environment"}
    assert not json.loads(asked)["audio"]
