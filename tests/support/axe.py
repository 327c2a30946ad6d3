"""axe-core on a page in Chromium."""

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

SERIOUS = ("serious", "critical")
# Gradio fades its answers and messages in. Half transparent text would fail the rule for contrast.
COLOURS_REST = """async () => {
    const colours = ["opacity", "color", "backgroundColor"];
    const frame = () => new Promise(requestAnimationFrame);
    const changing = () => document.getAnimations().filter(({ effect, playState }) =>
        playState === "running" &&
        effect.getComputedTiming().endTime !== Infinity &&
        effect.getKeyframes().some((keyframe) => colours.some((property) => property in keyframe)));
    for (let still = 0; still < 3; still = changing().length ? 0 : still + 1) {
        await Promise.allSettled(changing().map((one) => one.finished));
        await frame();
    }
}"""


def violations(page: Page, **options: Any) -> list[str]:
    """What axe-core finds serious or critical on the page once its colours rest."""
    page.evaluate(COLOURS_REST)
    found = Axe().run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
    return [
        f"{one['id']}: {node['target']} {node['html'][:200]}"
        for one in found
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]
