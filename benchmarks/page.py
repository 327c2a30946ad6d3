"""How soon a browser shows the page and can take an image, and what the page weighs."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.support.chromium import CHROMIUM, FLAGS

DROP_ZONE = "input[type=file]"
DRAWN = "gradio-app input[type=file]"
"""The drop zone that Gradio has drawn, which sends an image at once."""
# The time of the browser's own clock, so that the way to this process does not count.
READY = """([taking, drawn]) => new Promise((resolve) => {
  let takes = null;
  const look = () => {
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    if (paint && document.querySelector(taking)) takes ??= performance.now();
    if (takes !== null && document.querySelector(drawn)) resolve([paint.startTime, takes, performance.now()]);
    else requestAnimationFrame(look);
  };
  look();
})"""

WEIGHT = """() => {
  const [page] = performance.getEntriesByType("navigation");
  return [page.transferSize, page.decodedBodySize];
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def opened(browser: Browser, url: str) -> tuple[float, float, float]:
    """Seconds from the request of a page until its first paint, until it takes an image, and until it sends one.

    Nothing is cached.
    """
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(url, wait_until="commit")
    painted, takes, sends = page.evaluate(READY, [DROP_ZONE, DRAWN])
    context.close()
    return painted / 1e3, takes / 1e3, sends / 1e3


def weight(browser: Browser, url: str) -> tuple[int, int]:
    """Bytes of the page itself, which holds the configuration and our scripts: sent and unpacked."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    sent, unpacked = page.evaluate(WEIGHT)
    context.close()
    return sent, unpacked
