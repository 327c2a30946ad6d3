"""The first screen of a task's tab: the answer without scrolling, on a screen and on a phone, and without jumps."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from src.models import evaluation
from src.page.views.cost_summary import pictograph
from src.server.languages import ENGLISH, LANGUAGES
from src.tasks import TASKS
from tests.support.app import ROOT, Server
from tests.support.chromium import PATIENCE
from tests.support.page_actions import EXAMPLE, open_section, open_tab, threshold, upload

ANSWER = {
    "image with heat map": ".v-viewer .v-stage",
    "decision": ".v-word",
    "bar": ".v-bar input[type=range]",
    "marks": ".v-named-thresholds:visible",
    "most probable classes": ".v-most-probable tbody",
}
COSTS = {"pictograph": ".v-people", "sentence": "[id^=cost-sentence]"}

# A finger hits at least 44 pixels: of the control itself, or of the label around it.
SMALL = """() => [...document.querySelectorAll("button, input, summary, select, [role=tab], td a")]
  .filter((e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && e.tabIndex >= 0)
  .map((e) => [e, (e.closest("label") ?? e).getBoundingClientRect()])
  .filter(([, box]) => box.height > 1 && (box.height < 44 || box.width < 44))
  .map(([e, box]) => `${e.tagName} ${e.className} ${e.ariaLabel ?? e.innerText} ${box.width} x ${box.height}`)"""

SHIFTS = """() => {
  window.shifts = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.shifts.push({
      value: entry.value, parts: entry.sources.map(({ node }) => node?.className ?? node?.nodeName),
    });
  }).observe({ type: "layout-shift", buffered: true });
}"""


@pytest.fixture
def sized(browser: Browser, server: Server) -> Iterator[Any]:
    """Opens the page in a window of a given size."""
    opened: list[Page] = []

    def opening(width: int, height: int, code: str = ENGLISH) -> Page:
        page = browser.new_page(viewport={"width": width, "height": height})
        opened.append(page)
        page.set_default_timeout(PATIENCE)
        page.goto(f"{server.url}?lang={code}")
        return page

    yield opening
    for page in opened:
        page.close()


def read_example(page: Page, task: str) -> Locator:
    """The task's tab with the answer to an example. The page stands at its top."""
    page.locator(f"[role=tab][data-tab-id={task}]").click()
    panel = page.get_by_role("tabpanel").filter(has=page.locator(f"#threshold-{task}"))
    upload(panel, ROOT / "examples" / EXAMPLE[task])
    expect(panel.locator(".v-word")).to_be_visible()
    expect(panel.locator(".v-viewer")).to_be_visible()
    page.evaluate("scrollTo(0, 0)")
    return panel


def ends(panel: Locator, parts: dict[str, str]) -> dict[str, float]:
    """The lower edge of each part, in pixels from the top of the page."""
    found = {}
    for name, selector in parts.items():
        box = panel.locator(selector).first.bounding_box()
        assert box, f"no {name}"
        found[name] = box["y"] + box["height"]
    return found


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_answer_is_on_the_first_screen_and_near_the_top_of_a_phone(sized: Any, code: str) -> None:
    page = sized(1440, 900, code)
    for task in TASKS:
        page.set_viewport_size({"width": 1440, "height": 900})
        panel = read_example(page, task)
        for width, height in ((1440, 900), (1280, 720)):
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate("scrollTo(0, 0)")
            below = {name: end for name, end in ends(panel, ANSWER | COSTS).items() if end > height}
            assert not below, f"{task}, {width} x {height}"
        page.set_viewport_size({"width": 390, "height": 844})
        page.evaluate("scrollTo(0, 0)")
        assert max(ends(panel, ANSWER).values()) <= 1400, f"{task}: {ends(panel, ANSWER)}"
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        clipped = panel.locator(".v-named-thresholds button").evaluate_all(
            "buttons => buttons.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.innerText)"
        )
        assert not clipped, task


def test_a_phone_has_controls_for_fingers(sized: Any) -> None:
    page = sized(390, 844)
    read_example(page, "skin")
    tabs = page.get_by_role("tab")
    assert len({box["y"] for tab in tabs.all() if (box := tab.bounding_box())}) == 1, "one row"
    for tab in [*TASKS, "batch", "slide", "evidence", "clinic"]:
        page.locator(f"[role=tab][data-tab-id={tab}]").click()
        expect(page.locator(f"[role=tab][data-tab-id={tab}]")).to_have_attribute("aria-selected", "true")
        page.wait_for_timeout(300)
        assert page.evaluate(SMALL) == [], tab


def test_the_camera_comes_first_on_a_phone(sized: Any) -> None:
    panel = open_tab(sized(390, 844), "skin")
    places = [
        panel.get_by_role("button", name=name).first.bounding_box() for name in ("Capture from camera", "Upload file")
    ]
    assert places[0]
    assert places[1]
    assert places[0]["x"] < places[1]["x"]


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_the_page_does_not_jump_while_an_image_is_read(sized: Any, width: int, height: int) -> None:
    page = sized(width, height)
    panel = open_tab(page, "skin")
    expect(panel.locator(".v-example img").first).to_be_visible()
    page.wait_for_timeout(1000)
    page.evaluate(SHIFTS)
    page.evaluate("window.shifts.length = 0")
    panel.locator(".v-example").first.evaluate("button => button.click()")  # without scrolling to it
    expect(panel.locator(".v-viewer")).to_be_visible()
    expect(panel.locator(".v-word")).to_be_visible()
    page.wait_for_timeout(500)
    found = page.evaluate("window.shifts")
    assert sum(one["value"] for one in found) < 0.05, json.dumps(found)


def test_an_earlier_answer_is_gone_while_the_next_image_is_read(sized: Any) -> None:
    page = sized(1440, 900)
    panel = read_example(page, "skin")
    held: list[Route] = []
    page.route("**/queue/join*", lambda route: held.append(route))
    panel.locator(".v-example").first.click()
    expect(panel.locator(".v-reading")).to_contain_text("The image is being read.")
    for part in (".v-viewer", ".v-word", ".v-most-probable"):
        expect(panel.locator(part)).to_have_count(0)
    expect(panel.locator(".v-busy")).to_be_visible()
    held[0].continue_()
    expect(panel.locator(".v-word")).to_have_text(re.compile("^(Refer|No referral)$"))
    expect(panel.locator(".v-busy")).to_have_count(0)


def test_the_pictograph_follows_the_thumb(sized: Any, server: Server) -> None:
    panel = open_tab(sized(1440, 900), "skin")
    model = evaluation.parse(json.loads((server.checkpoints / "skin" / "evaluation.json").read_text()))
    (home,) = model.held_out
    for at in (0.05, 0.6):
        threshold(panel, at)
        shown = panel.locator(".v-people").evaluate(
            "e => ['found', 'ill', 'referred'].map((end) => Number(e.style.getPropertyValue(`--v-${end}`)))"
        )
        assert shown == list(pictograph(home, at, 10).values())
    expect(panel.get_by_role("img", name="of 1,000 people like those tested")).to_be_visible()
    expect(panel.locator("[id^=cost-sentence] [title]").first).to_have_attribute("title", re.compile("95% interval"))


COUNT_SPEECH = """() => {
  window.spoken = [];
  const region = document.querySelector("#vigil-spoken");
  new MutationObserver(() => window.spoken.push(region.textContent)).observe(region, {
    childList: true, subtree: true, characterData: true,
  });
}"""


def test_the_decision_is_spoken_once_and_not_at_each_step(sized: Any) -> None:
    page = sized(1440, 900)
    open_tab(page, "skin")
    page.evaluate(COUNT_SPEECH)
    panel = read_example(page, "skin")
    page.wait_for_function("window.spoken.length > 0")
    for at in (0.0, 0.4, 1.0):
        threshold(panel, at)
        expect(panel.locator(".v-decision")).to_contain_text(f"the threshold of {100 * at:.1f}%")
    (spoken,) = page.evaluate("window.spoken")
    assert re.match(r"(Refer|No referral)\. p\(malignant\) is [\d.]+%", spoken)
    region = page.locator("#vigil-spoken")
    expect(region).to_have_attribute("role", "status")
    assert panel.locator(".v-decision").evaluate("e => !e.closest('[role=status], [aria-live]')")


def test_the_images_stand_side_by_side_on_wish(sized: Any) -> None:
    panel = read_example(sized(1440, 900), "skin")
    button = panel.get_by_role("button", name="Side by side")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    plain = panel.get_by_role("img", name="The image without the heat map")
    expect(plain).to_be_visible()
    boxes = [one.bounding_box() for one in (plain, panel.get_by_role("img", name="heat map over it"))]
    assert boxes[0]
    assert boxes[1]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    button.click()
    expect(plain).to_have_count(0)


def test_tabs_are_the_tasks_and_then_a_group(sized: Any) -> None:
    page = sized(1440, 900)
    open_tab(page, "skin")
    titles = page.get_by_role("tab").all_inner_texts()
    assert titles == [*(task.title for task in TASKS.values()), "Many images", "Whole slide", "Evidence", "Your clinic"]
    boxes = [box for tab in page.get_by_role("tab").all() if (box := tab.bounding_box())]
    gaps = [after["x"] - before["x"] - before["width"] for before, after in pairwise(boxes)]
    assert max(gaps) == gaps[len(TASKS) - 1] > 50, "between the two groups"


def test_a_section_opens_with_the_present_threshold(sized: Any) -> None:
    panel = open_tab(sized(1440, 900), "skin")
    expect(panel.locator(".v-costs")).to_be_visible()
    expect(panel.locator(".v-curves")).not_to_be_visible()
    threshold(panel, 0.42)
    open_section(panel, "API")
    codes = panel.locator(".v-call code")
    expect(codes).to_have_count(3)
    for code in codes.all():
        expect(code).to_contain_text("0.42")
    threshold(panel, 0.43)
    for code in codes.all():
        expect(code).to_contain_text("0.43")
    panel.get_by_role("spinbutton", name="number input for Threshold").fill("0.12345")  # between two steps
    expect(codes.first).to_contain_text("0.12345")
