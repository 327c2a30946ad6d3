"""The tab for many pictures."""

import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Page, expect

from src.exports.csv_rows import columns
from src.page.tabs import batch_tab
from src.pictures import archive
from tests.support.app import Server
from tests.support.batches import EXAMPLES, NASTY, TASK, packed
from tests.support.page_actions import p_malignant


def test_a_zip_and_a_picture_in_the_browser(page: Page, server: Server, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Many images").click()
    panel = page.get_by_role("tabpanel").filter(has=page.get_by_role("heading", name="Many images"))
    panel.get_by_role("button", name="Read all").click()
    expect(panel.get_by_role("alert")).to_contain_text(batch_tab.NO_IMAGES)
    panel.get_by_text(TASK.title, exact=False).first.click()
    path, name = packed(tmp_path, {NASTY: EXAMPLES[0].read_bytes(), "../x.png": b"x"})
    files = [
        FilePayload(name=name, mimeType="application/zip", buffer=Path(path).read_bytes()),
        FilePayload(name="loose of ward nine.png", mimeType="image/png", buffer=EXAMPLES[0].read_bytes()),
    ]
    panel.locator("input[type=file]").first.set_input_files(files)
    expect(panel.get_by_text("loose of ward nine")).to_be_visible()
    panel.get_by_role("button", name="Read all").click()
    rows = panel.locator("tr[data-p]")
    expect(rows).to_have_count(len(EXAMPLES) + 2)
    values = [float(p) for p in rows.evaluate_all("rows => rows.map(row => row.dataset.p)")]
    assert values == sorted(values, reverse=True)
    expect(panel.locator(".v-batch").get_by_text(archive.OUTSIDE)).to_be_visible()
    assert panel.locator(".v-batch img[src=x]").count() == 0
    assert rows.first.locator("img").evaluate("image => image.naturalWidth") > 0
    assert not re.search(r"\bward\b", server.log.read_text())

    panel.get_by_role("spinbutton").fill(str(values[1]))
    referred = sum(p >= values[1] for p in values)
    expect(panel.locator("[data-referred]").first).to_have_text(str(referred))
    decisions = [rows.nth(at).locator(".v-decided") for at in (0, -1)]
    for decision, word in zip(decisions, ("Refer", "No referral"), strict=True):
        expect(decision).to_have_text(word, use_inner_text=True)
    with page.expect_download() as download:
        panel.get_by_role("button", name=f"Save as CSV ({len(EXAMPLES) + 3} rows)").click()
    assert re.fullmatch(r"vigil-breastmnist-[\d-]+\.csv", download.value.suggested_filename)
    download.value.save_as(tmp_path / "saved.csv")
    with (tmp_path / "saved.csv").open(newline="", encoding="utf-8") as lines:
        table = csv.DictReader(lines)
        assert list(table.fieldnames or ()) == columns(TASK)
        found = list(table)
    assert sum(line["decision"] == "refer" for line in found) == referred
    assert [line["error"] for line in found if line["error"]] == [archive.OUTSIDE]

    panel.get_by_role("radio", name=f"Refer ({referred})").check()
    expect(rows.filter(visible=True)).to_have_count(referred)
    panel.get_by_role("radio", name=f"No referral ({len(values) - referred})").check()
    expect(rows.filter(visible=True)).to_have_count(len(values) - referred)
    panel.get_by_role("radio", name=f"All ({len(values)})").check()
    panel.get_by_role("button", name="p(malignant)").click()
    expect(panel.get_by_role("columnheader", name="p(malignant)")).to_have_attribute("aria-sort", "ascending")
    assert [float(p) for p in rows.evaluate_all("rows => rows.map(row => row.dataset.p)")] == sorted(values)
    panel.get_by_role("button", name="Name", exact=True).click()
    names = rows.evaluate_all("rows => rows.map(row => row.dataset.name)")
    assert names[0].startswith("loose")
    assert names[1:] == sorted(names[1:], key=str.lower)

    # A click opens an image in the tab of its kind: one that was uploaded alone, and one from the zip.
    for image in ("loose of ward nine.png", f"ward.zip/a/{EXAMPLES[0].name}"):
        page.get_by_role("tab", name="Many images").click()
        panel.get_by_role("button", name=image, exact=True).click()
        tab = page.get_by_role("tabpanel").filter(has=page.get_by_role("heading", name=TASK.title, exact=True))
        expect(tab.locator(".v-word")).to_have_text(re.compile("^(Refer|No referral)$"))
        expect(tab.locator(".v-base")).to_be_visible()
        tab.get_by_role("button", name="Remove").click()
        expect(tab.locator(".v-word")).to_have_count(0)


@pytest.mark.parametrize("model", ["made-up-breastmnist", "Logistic regression"])
def test_an_opened_image_keeps_the_threshold_and_the_model_of_the_table(page: Page, model: str) -> None:
    page.get_by_role("tab", name="Many images").click()
    panel = page.get_by_role("tabpanel").filter(has=page.get_by_role("heading", name="Many images"))
    panel.get_by_role("radio", name=f"{TASK.title}, {model}").check()
    panel.locator("input[type=file]").first.set_input_files(EXAMPLES[0])
    expect(panel.get_by_text(EXAMPLES[0].stem).first).to_be_visible()
    panel.get_by_role("button", name="Read all").click()
    row = panel.locator("tr[data-p]")
    expect(row).to_have_count(1)
    p = float(str(row.get_attribute("data-p")))
    panel.get_by_role("spinbutton", name="number input for Threshold").fill("0.99")
    expect(row.locator(".v-decided")).to_have_text("No referral", use_inner_text=True)
    row.get_by_role("button", name=EXAMPLES[0].name).click()
    tab = page.get_by_role("tabpanel").filter(has=page.get_by_role("heading", name=TASK.title, exact=True))
    expect(tab.locator(".v-word")).to_have_text("No referral")
    expect(tab.locator(".v-decision")).to_contain_text("the threshold of 99.0%")
    expect(tab.get_by_role("radio", name=model)).to_be_checked()
    expect(tab.get_by_role("spinbutton", name="number input for Threshold")).to_have_value("0.99")
    assert p_malignant(tab) == pytest.approx(p, abs=1e-3)
