"""The page where the gate refuses an image: nothing is shown of the answer before it is asked for."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from src.models import checkpoints
from src.models.predictor import Predictor
from src.page import layout
from src.page.theme import launch_options
from src.results import gate_sentences
from src.service import read_picture
from src.service.worker_pool import ThreadWorkerPool
from src.tasks import TASKS
from tests.support import synthetic_checkpoints
from tests.support.app import ROOT
from tests.support.axe import violations
from tests.support.chromium import PATIENCE
from tests.support.page_actions import EXAMPLE, open_section, open_tab, p_malignant, upload

SENTENCE = gate_sentences.sentence(TASKS["breastmnist"], "histopathology")


@pytest.fixture
def doubting(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """The page of gates that take every picture for histopathology."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    models = {}
    for task, limit in {"breastmnist": -1.0, "histopathology": 1e9}.items():
        checkpoint = checkpoints.load(task, synthetic_checkpoints.write(tmp_path / task, task))
        models[task] = Predictor(replace(checkpoint, gate=synthetic_checkpoints.gate(limit)))
    built = layout.build(ThreadWorkerPool(models))
    _, url, _ = built.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, **launch_options())
    opened = browser.new_page()
    opened.set_default_timeout(PATIENCE)
    opened.goto(url)
    yield opened
    opened.close()
    built.close()


def placed(panel: Locator) -> str:
    """The place of p(malignant) on the bar, 0 to 1; "" if it has none."""
    return str(panel.locator(".v-bar").evaluate("e => getComputedStyle(e).getPropertyValue('--v-p')"))


def test_nothing_is_shown_of_a_picture_of_another_kind_before_it_is_asked_for(doubting: Page) -> None:
    panel = open_tab(doubting, "breastmnist")
    upload(panel, ROOT / "examples" / EXAMPLE["breastmnist"])
    expect(panel.get_by_role("alert")).to_contain_text(SENTENCE)
    for title in ("What the classes mean", "Where it looked", "How sure is it?", "Curves", "Report", "API"):
        open_section(panel, title)
    for part in (".v-classes", ".v-viewer", ".v-meaning", ".v-this-image", ".v-promises li:has-text('removed')"):
        expect(panel.locator(part)).to_have_count(0)
    assert placed(panel) == "", "p(malignant) has no place on the bar"
    assert not violations(doubting), "axe finds nothing serious beside the gate's question"
    panel.get_by_role("button", name="As JSON").click()
    expect(panel.locator(".json-holder").get_by_text("p_malignant")).to_have_count(0)
    expect(panel.get_by_role("button", name="Read altered versions")).to_have_count(0)
    panel.get_by_role("button", name="Report (PDF)").click()
    expect(doubting.get_by_text(read_picture.NOT_SHOWN)).to_be_visible()

    panel.get_by_role("button", name="Show the answer anyway").click()
    expect(panel.locator(".v-decision")).to_contain_text("p(malignant) is")
    assert float(placed(panel)) == pytest.approx(p_malignant(panel), abs=0.001)
    expect(panel.locator(".v-although")).to_contain_text(SENTENCE)
    expect(panel.locator(".v-warnings")).to_contain_text(SENTENCE)
    panel.get_by_text("Guided Grad-CAM", exact=True).click()
    # The same picture is not asked about twice; another one is.
    expect(panel.locator(".v-caption")).to_contain_text("Guided Grad-CAM ")
    panel.locator(".v-example").nth(1).click()
    expect(panel.get_by_role("alert")).to_contain_text(SENTENCE)

    panel.get_by_role("button", name="Open Histopathology").click()
    other = doubting.get_by_role("tabpanel").filter(
        has=doubting.get_by_role("heading", name=TASKS["histopathology"].title, exact=True)
    )
    expect(other.locator(".v-word")).to_have_text(re.compile("^(Refer|No referral)$"))
