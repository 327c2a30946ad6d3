"""The section "How sure is it?": altered versions of an image, and the models side by side."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from src.models import checkpoint_info, perturbations
from src.tasks import TASKS
from tests.support.app import ROOT
from tests.support.page_actions import EXAMPLE, open_section, open_tab, p_malignant, threshold, upload


def test_how_sure_it_is_is_shown_once_opened_and_decided_again_by_the_slider(page: Page) -> None:
    panel = open_tab(page, "histopathology")
    upload(panel, ROOT / "examples" / EXAMPLE["histopathology"])
    expect(panel.locator(".v-word")).to_be_visible()
    open_section(panel, "How sure is it?")
    chips = panel.locator(".v-chips li")
    expect(chips).to_have_count(len(perturbations.perturbations(TASKS["histopathology"])))
    queued: list[str] = []
    page.on("request", lambda request: queued.append(request.url) if "/queue/join" in request.url else None)
    threshold(panel, 0)
    expect(panel.locator(".v-verdict")).to_contain_text("The decision holds")
    expect(chips.first).to_contain_text(", refer")
    threshold(panel, 1)
    expect(chips.first).to_contain_text(", no referral")
    assert not queued
    # ... and goes with its picture
    panel.locator(".v-example").first.click()
    expect(chips).to_have_count(0)
    panel.get_by_role("button", name="Read altered versions").click()
    expect(chips.first).to_contain_text(", no referral")


def test_the_section_without_an_image_reads_nothing(page: Page) -> None:
    panel = open_tab(page, "histopathology")
    queued: list[str] = []
    page.on("request", lambda request: queued.append(request.url) if "/queue/join" in request.url else None)
    open_section(panel, "How sure is it?")
    expect(panel.get_by_text("Once an image is read, this section reads")).to_be_visible()
    expect(panel.get_by_role("button", name="Read altered versions")).to_have_count(0)
    assert not queued


def test_a_tab_with_two_models_offers_both_side_by_side(page: Page) -> None:
    panel = open_tab(page, "breastmnist")
    further = json.loads((checkpoint_info.EMBEDDED / "breastmnist-logistic" / "config.json").read_text())["vigil"]
    open_section(panel, "How sure is it?")
    rows = panel.locator(".v-models tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text(further["name"])
    expect(rows.nth(1)).to_contain_text(" ms")
    upload(panel, ROOT / "examples" / EXAMPLE["breastmnist"])
    panel.get_by_role("button", name="Compare the models").click()
    expect(panel.locator(".v-cards article")).to_have_count(2)
    shown = p_malignant(panel)
    cards = re.findall(r"p\(malignant\) [<>]?([\d.]+)%", panel.locator(".v-cards").inner_text())
    assert float(cards[0]) / 100 == pytest.approx(shown)
    panel.get_by_role("radio", name=further["name"], exact=True).check()
    expect(panel.locator(".v-model")).to_contain_text(further["name"])
    expect(panel.locator(".v-decision")).to_contain_text(f"p(malignant) is {cards[1]}%")
    expect(panel.locator(".v-cards article")).to_have_count(0)
