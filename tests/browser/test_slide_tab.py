"""The tab "Whole slide": the viewer, hot spots, and the tile under a click."""

from playwright.sync_api import Page, expect

from tests.support.app import Server


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
