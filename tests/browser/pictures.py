"""Makes the pictures of the documents again, or shows every state of the page at several sizes in light and dark.

    python -m tests.browser.pictures                    # docs/page.png, docs/gate.png and docs/compare.png
    python -m tests.browser.pictures --states FOLDER    # FOLDER/STATE-SIZE-SCHEME.png for each state

It starts the app with its embedded weights and opens it in Chromium. All images are the drawn ones of examples/.
"""

import argparse
import io
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from PIL import Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect, sync_playwright

from tests.support.app import ROOT, Server, running
from tests.support.chromium import CHROMIUM, FLAGS, PATIENCE
from tests.support.page_actions import open_section, open_tab, threshold, upload

WIDTH: Final = 1000
"""The width of a document's picture, in pixels."""
COLOURS: Final = 256
"""The colours of a document's picture, the most that a palette can have. The file stays small."""
SIZES: Final = {"wide": (1440, 900), "low": (1280, 720), "narrow": (820, 1000), "phone": (390, 844)}
"""The name of a window -> its width and height, in pixels."""
ANSWER: Final = re.compile("^(Refer|No referral)$")


def read(page: Page, task: str, example: str) -> Locator:
    """The tab of the task with the answer to one of its examples."""
    panel = open_tab(page, task)
    upload(panel, ROOT / "examples" / example)
    expect(panel.locator(".v-word")).to_be_visible()
    expect(panel.locator(".pending")).to_have_count(0)
    return panel


def _empty(page: Page) -> None:
    open_tab(page, "skin")


def _reading(page: Page) -> None:
    page.route("**/queue/join*", lambda _: None)  # no answer comes
    panel = open_tab(page, "skin")
    panel.locator(".v-example").first.click()
    expect(panel.locator(".v-busy")).to_be_visible()


def _refer(page: Page) -> None:
    expect(read(page, "skin", "skin/irregular.jpg").locator(".v-word")).to_have_text("Refer")


def _no_referral(page: Page) -> None:
    panel = read(page, "skin", "skin/naevus.jpg")
    threshold(panel, 1)
    expect(panel.locator(".v-word")).to_have_text("No referral")


def _gate(page: Page) -> None:
    panel = read(page, "skin", "histopathology/nest.png")
    expect(panel.get_by_role("button", name="Open Histopathology")).to_be_visible()


def _refused(page: Page) -> None:
    panel = open_tab(page, "skin")
    upload(panel, FilePayload(name="letter.png", mimeType="image/png", buffer=b"no image"))
    expect(panel.get_by_role("alert")).to_be_visible()


def _warning(page: Page) -> None:
    """A dark image of few pixels."""
    panel = open_tab(page, "skin")
    dark = io.BytesIO()
    with Image.open(ROOT / "examples/skin/irregular.jpg") as image:
        image.resize((64, 64)).point(lambda value: value // 6).save(dark, "PNG")
    upload(panel, FilePayload(name="dark.png", mimeType="image/png", buffer=dark.getvalue()))
    expect(panel.locator(".v-word")).to_be_visible()
    if (anyway := panel.get_by_role("button", name="Show the answer anyway")).is_visible():
        anyway.click()
    expect(panel.locator(".v-warnings")).to_be_visible()


def _answers(status: int, body: dict[str, str]) -> Callable[[Page], None]:
    """The state after the server answered a request to read an image with this status and body."""

    def show(page: Page) -> None:
        page.route("**/queue/join*", lambda route: route.fulfill(status=status, json=body))
        panel = open_tab(page, "skin")
        panel.locator(".v-example").first.click()
        expect(panel.get_by_role("alert").filter(has_text="Read again")).to_be_visible()

    return show


def _offline(page: Page) -> None:
    panel = open_tab(page, "skin")
    expect(panel.locator(".v-example").first).to_be_visible()
    page.context.set_offline(True)
    panel.locator(".v-example").first.click()
    page.wait_for_timeout(3000)


STATES: Final[dict[str, Callable[[Page], None]]] = {
    "empty": _empty,
    "reading": _reading,
    "refer": _refer,
    "no-referral": _no_referral,
    "gate": _gate,
    "refused": _refused,
    "warning": _warning,
    "too-many-visitors": _answers(503, {"detail": "Queue is full."}),
    "offline": _offline,
    "error": _answers(500, {"detail": "Internal Server Error"}),
}
"""The name of a state -> the actions that lead to it from the opened page."""


@contextmanager
def opened(browser: Browser, server: Server, size: str, scheme: Literal["light", "dark"] = "light") -> Iterator[Page]:
    """The page in a window of this size."""
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce")
    page.set_default_timeout(PATIENCE)
    page.goto(server.url)
    yield page
    page.close()


def save(picture: bytes, path: Path) -> None:
    """Write a screenshot as a small PNG of WIDTH."""
    with Image.open(io.BytesIO(picture)) as image:
        height = round(image.height * WIDTH / image.width)
        small = image.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
    small.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def document_pictures(browser: Browser, server: Server, folder: Path) -> None:
    """The first screen with an answer, the gate's question, and two models on one image."""
    with opened(browser, server, "wide") as page:
        _refer(page)
        page.evaluate("scrollTo(0, 0)")
        save(page.screenshot(), folder / "page.png")
    with opened(browser, server, "low") as page:
        _gate(page)
        page.evaluate("scrollTo(0, 0)")
        save(page.screenshot(), folder / "gate.png")
    with opened(browser, server, "low") as page:
        panel = read(page, "breastmnist", "breastmnist/spiculated.png")
        open_section(panel, "How sure is it?")
        panel.get_by_role("button", name="Compare the models").click()
        expect(panel.get_by_role("heading", name="side by side")).to_be_visible()
        section = panel.locator(".v-section").filter(has_text="How sure is it?")
        section.scroll_into_view_if_needed()
        save(section.screenshot(), folder / "compare.png")


def state_pictures(browser: Browser, server: Server, folder: Path) -> None:
    """Every state, at every size, in light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, show in STATES.items():
        for size in SIZES:
            with opened(browser, server, size) as page:
                show(page)
                page.evaluate("scrollTo(0, 0)")
                for scheme in ("light", "dark"):
                    page.emulate_media(color_scheme=scheme)
                    page.wait_for_timeout(300)
                    page.screenshot(path=folder / f"{name}-{size}-{scheme}.png", full_page=size == "phone")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.pictures", description=__doc__)
    parser.add_argument("--states", type=Path, metavar="FOLDER", help="write a picture of every state into this folder")
    states = parser.parse_args(arguments).states
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), {}) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        expect.set_options(timeout=PATIENCE)
        if states:
            state_pictures(browser, server, states)
        else:
            document_pictures(browser, server, ROOT / "docs")
        browser.close()


if __name__ == "__main__":
    main()
