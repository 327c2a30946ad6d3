"""The tab "Whole slide": the viewer, hot spots, and the tile under a click."""

from typing import Final, Literal

import pytest
import tifffile
from playwright.sync_api import Page, expect

from src.slides.library import EXAMPLES
from tests.support.app import Server

with tifffile.TiffFile(EXAMPLES / "drawn_node.tif") as _example:
    SHAPE: Final = _example.pages[0].shape[1] / _example.pages[0].shape[0]
"""Width over height of the drawn example."""


@pytest.mark.parametrize("width", [1440, 375])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_navigator_shows_the_whole_slide_and_moves_the_viewer(
    page: Page, width: int, scheme: Literal["light", "dark"]
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.get_by_role("tab", name="Whole slide").click()
    viewer, navigator = page.locator("#slide-viewer"), page.locator("#slide-viewer .navigator")
    expect(viewer.locator("canvas").first).to_be_visible(timeout=30_000)
    expect(navigator).to_be_visible()
    whole, small = viewer.bounding_box(), navigator.bounding_box()
    assert whole is not None
    assert small is not None
    assert small["width"] * small["height"] < whole["width"] * whole["height"] / 10, "it leaves the slide visible"
    assert small["width"] / small["height"] == pytest.approx(SHAPE, rel=0.1), "it has no bars beside the slide"
    region = navigator.locator(".displayregion")
    page.wait_for_timeout(500)
    before = region.bounding_box()
    page.locator(".v-slide-spots button").first.click()
    page.wait_for_timeout(2000)
    near = region.bounding_box()
    assert before is not None
    assert near is not None
    assert near["width"] < before["width"], "the frame shows which part is visible"
    navigator.click(position={"x": small["width"] * 0.8, "y": small["height"] * 0.8})
    page.wait_for_timeout(2000)
    moved = region.bounding_box()
    assert moved is not None
    assert moved["x"] > near["x"] + 2, "a click on it moves the viewer"


def test_the_viewer_shows_the_example_and_flies_to_a_hot_spot(page: Page, server: Server) -> None:
    tiles: list[str] = []
    page.on("request", lambda request: tiles.append(request.url) if "/slides/" in request.url else None)
    page.get_by_role("tab", name="Whole slide").click()
    viewer = page.locator("#slide-viewer")
    expect(viewer.locator("canvas").first).to_be_visible(timeout=30_000)
    expect(page.locator(".v-slide-bar span")).to_contain_text("m")
    spots = page.locator(".v-slide-spots button")
    assert spots.count() >= 2
    page.wait_for_timeout(500)
    before = len(tiles)
    assert before > 1
    spots.first.click()
    expect(page.locator(".v-slide-tile img")).to_be_visible(timeout=30_000)
    expect(page.locator(".v-slide-tile figcaption")).to_contain_text("p(malignant)")
    assert "drawn_node" not in server.log.read_text()
    page.wait_for_timeout(500)
    assert len(tiles) > before, "the viewer moved"
