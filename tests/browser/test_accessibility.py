"""The page with a screen reader or a keyboard: axe-core on every tab, and the order of the Tab key."""

import json
import re
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, Route, expect

from src.tasks import TASKS
from tests.support.app import ROOT, Server
from tests.support.axe import violations
from tests.support.chromium import PATIENCE
from tests.support.page_actions import open_section, open_tab, upload


def violations_in_both_schemes(page: Page) -> list[str]:
    """Every rule on the light page, and the one rule that depends on colours on the dark page."""
    light = violations(page)
    page.emulate_media(color_scheme="dark")
    expect(page.locator("body")).to_have_class(re.compile("dark"))
    dark = violations(page, runOnly=["color-contrast"])
    page.emulate_media(color_scheme="light")
    expect(page.locator("body")).not_to_have_class(re.compile("dark"))
    return light + dark


def test_axe_finds_nothing_serious_on_any_tab(browser: Browser, server: Server) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 1000}, color_scheme="light", reduced_motion="reduce")
    page.set_default_timeout(PATIENCE)
    page.goto(server.url)
    tabs = page.get_by_role("tab")
    expect(tabs.first).to_be_visible()
    found, tasks = {}, [task.title for task in TASKS.values()]
    for title in tabs.all_inner_texts():
        page.get_by_role("tab", name=title, exact=True).click()
        panel = page.get_by_role("tabpanel").filter(visible=True)
        expect(panel).to_be_visible()
        if title == "Whole slide":  # the only tab that asks the server when it is opened
            expect(panel.locator(".v-slide-report")).to_be_visible()
        # Gradio dims what is still being answered.
        expect(panel.locator(".pending")).to_have_count(0)
        # The tabs of the tasks have the same template and styles: one is checked without an answer and in the dark.
        find = violations if title in tasks[1:] else violations_in_both_schemes
        if title not in tasks[1:]:
            found[title] = find(page)
        if title in tasks:
            panel.locator(".v-example").first.click()
            expect(panel.locator(".v-caption")).to_be_visible()
            for section in panel.locator(".v-section > button").all_inner_texts():
                open_section(panel, section.splitlines()[0])
            for ask in panel.get_by_role("button", name="Compare").all():
                ask.click()
            expect(panel.locator(".v-chips")).to_be_visible()
            panel.get_by_role("button", name="As JSON").click()
            expect(panel.locator(".pending")).to_have_count(0)
            found[f"{title}, answered"] = find(page)
    page.close()
    assert not any(found.values()), json.dumps(found, indent=1)


def on_a_phone(browser: Browser, server: Server, scheme: Any) -> Page:
    """The page on a phone in a colour scheme, without motion."""
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme=scheme, reduced_motion="reduce")
    page.set_default_timeout(PATIENCE)
    page.goto(server.url)
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_while_reading_after_a_refusal_and_in_a_full_queue(
    browser: Browser, server: Server, scheme: Any
) -> None:
    page = on_a_phone(browser, server, scheme)
    panel = open_tab(page, "skin")
    found = {}
    held: list[Route] = []
    page.route("**/queue/join*", lambda route: held.append(route))
    panel.locator(".v-example").first.click()
    expect(panel.locator(".v-busy")).to_be_visible()
    found["reading"] = violations(page)
    page.wait_for_timeout(100)
    held[0].fulfill(status=503, json={"detail": "Queue is full."})
    expect(panel.get_by_role("alert").filter(has_text="Read again")).to_be_visible()
    expect(panel.locator(".pending")).to_have_count(0)
    found["full queue"] = violations(page)
    page.unroute("**/queue/join*")
    panel.get_by_role("button", name="Remove").click()
    upload(panel, FilePayload(name="letter.png", mimeType="image/png", buffer=b"no image"))
    expect(panel.get_by_role("alert")).to_contain_text("This file is not an image")
    expect(panel.locator(".pending")).to_have_count(0)
    found["refused"] = violations(page)
    page.close()
    assert not any(found.values()), json.dumps(found, indent=1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_offline_with_a_warning_and_in_a_filled_table(
    browser: Browser, server: Server, scheme: Any
) -> None:
    page = on_a_phone(browser, server, scheme)
    found = {}
    panel = open_tab(page, "skin")
    small = BytesIO()
    Image.new("RGB", (60, 60), "sienna").save(small, "PNG")  # so small and uniform that the page warns
    upload(panel, FilePayload(name="small.png", mimeType="image/png", buffer=small.getvalue()))
    expect(panel.locator(".v-warnings").first).to_be_visible()
    expect(panel.locator(".pending")).to_have_count(0)
    found["warning"] = violations(page)
    page.get_by_role("tab", name="Many images").click()
    table = page.get_by_role("tabpanel").filter(visible=True)
    table.locator("input[type=file]").first.set_input_files(sorted((ROOT / "examples/skin").iterdir()))
    expect(table.get_by_text("irregular").first).to_be_visible()
    table.get_by_role("button", name="Read all").click()
    expect(table.locator("tr[data-p]").first).to_be_visible()
    expect(table.locator(".pending")).to_have_count(0)
    found["filled table"] = violations(page)
    page.get_by_role("tab", name=TASKS["skin"].title, exact=True).click()
    page.context.set_offline(True)
    panel.locator(".v-example").first.click()
    expect(page.get_by_text("The connection to the server is lost.")).to_be_visible()
    found["offline"] = violations(page)
    page.close()
    assert not any(found.values()), json.dumps(found, indent=1)


def test_an_interval_is_shown_by_keyboard_and_touch(page: Page) -> None:
    panel = open_tab(page, "skin")
    figure = panel.locator("[id^=cost-sentence] b[title]").first
    for reach in (figure.focus, figure.click):
        page.get_by_role("tab").first.focus()
        reach()
        expect(figure).to_be_focused()
        shown = figure.evaluate("e => [getComputedStyle(e, '::after').content, getComputedStyle(e, '::after').display]")
        assert shown == [json.dumps(figure.get_attribute("title")), "block"]
        assert "95% interval" in shown[0]


def test_axe_sees_a_poor_contrast_in_either_scheme(browser: Browser) -> None:
    """A check of the check."""
    page = browser.new_page(color_scheme="light", reduced_motion="reduce")
    page.set_content(
        "<html lang=en><title>T</title><style>p { color: #777; background: #888 }</style><main><h1>T</h1><p>Text</p>"
    )
    for options in ({}, {"runOnly": ["color-contrast"]}):
        assert any(line.startswith("color-contrast") for line in violations(page, **options))
    page.close()


FOCUSED = """() => {
  const at = document.activeElement;
  const name = at.getAttribute("aria-label") || at.closest("label")?.innerText || at.innerText;
  const shown = [at, at.parentElement, at.closest("label")].filter(Boolean).map((e) => getComputedStyle(e));
  const ring = (s) => (s.outlineStyle !== "none" && s.outlineWidth !== "0px") || s.boxShadow !== "none";
  return [name ?? "", shown.some(ring)];
}"""
IN_ORDER = (
    "Divider",
    "Opacity",
    "Symmetric brown lesion",
    "range slider for Threshold",
    "Default",
    "What this threshold costs",
    "Grad-CAM",
    "Most probable class",
    "Curves",
    "Report (JSON)",
)


def test_keys_alone_choose_read_and_move(page: Page) -> None:
    panel = open_tab(page, "skin")
    for title in ("Where it looked", "Report"):
        open_section(panel, title)
    panel.locator(".v-example").first.focus()
    page.keyboard.press("Enter")
    expect(panel.locator(".v-word")).to_have_text(re.compile("^(Refer|No referral)$"))
    expect(panel.locator(".v-viewer")).to_be_visible()
    page.get_by_role("tab").first.focus()
    visited = []
    for _ in range(80):
        page.keyboard.press("Tab")
        visited.append(page.evaluate(FOCUSED))
        if visited[-1][0].startswith("Report (JSON)"):
            break
    names = [name for name, _ in visited]
    places = [next(i for i, name in enumerate(names) if name.startswith(wanted)) for wanted in IN_ORDER]
    assert places == sorted(places), names
    assert all(outlined for _, outlined in visited), [name for name, outlined in visited if not outlined]
