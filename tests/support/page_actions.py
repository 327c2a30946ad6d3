"""Actions of a visitor on the page, for the tests in the browser."""

import re
from pathlib import Path

from playwright.sync_api import FilePayload, Locator, Page, expect

from src.tasks import TASKS

EXAMPLE = {
    "skin": "skin/irregular.jpg",
    "ultrasound": "ultrasound/spiculated.jpg",
    "breastmnist": "breastmnist/oval.png",
    "histopathology": "histopathology/nest.png",
}


def open_tab(page: Page, task: str) -> Locator:
    """The task's tab, chosen and drawn."""
    page.get_by_role("tab", name=TASKS[task].title, exact=True).click()
    panel = page.get_by_role("tabpanel").filter(has=page.get_by_role("heading", name=TASKS[task].title, exact=True))
    expect(panel.locator(".v-empty")).to_be_visible()
    return panel


def open_section(panel: Locator, title: str) -> None:
    """Open the section of the tab with this title, if it is closed."""
    button = panel.locator(".v-section > button").filter(has_text=re.compile(rf"^\s*{re.escape(title)}\s*▼"))
    expect(button).to_have_attribute("aria-expanded", re.compile("true|false"))
    if button.get_attribute("aria-expanded") == "false":
        button.click()
    expect(button).to_have_attribute("aria-expanded", "true")


def upload(panel: Locator, file: Path | FilePayload) -> None:
    panel.locator("input[type=file]").first.set_input_files(file)


def drop(page: Page, on: Locator, file: Path) -> None:
    """Drag a file over the middle of an element and drop it, as a person does."""
    on.scroll_into_view_if_needed()
    box = on.bounding_box()
    assert box
    session = page.context.new_cdp_session(page)
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, **at, "data": data})
    session.detach()


def threshold(panel: Locator, value: float) -> None:
    """Move the slider as a thumb or a key would."""
    panel.get_by_role("slider", name="range slider for Threshold").fill(str(value))


def p_malignant(panel: Locator) -> float:
    """The probability in the decision, 0 to 1."""
    text = panel.locator(".v-decision").inner_text()
    found = re.search(r"p\(malignant\) is [<>]?([\d.]+)%", text)
    assert found, text
    return float(found[1]) / 100
