"""The tab for many pictures."""

import csv
import re
from pathlib import Path

from playwright.sync_api import FilePayload, Page, expect

from src.exports.csv_rows import columns
from src.page.tabs import batch_tab
from src.pictures import archive
from tests.support.app import Server
from tests.support.batches import EXAMPLES, NASTY, TASK, packed


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
    expect(panel.locator("[data-referred]")).to_have_text(str(referred))
    decisions = [rows.nth(at).locator(".v-decided") for at in (0, -1)]
    for decision, word in zip(decisions, ("Refer", "No referral"), strict=True):
        expect(decision).to_have_text(word, use_inner_text=True)
    with page.expect_download() as download:
        panel.get_by_role("button", name="Save as CSV").click()
    assert re.fullmatch(r"vigil-breastmnist-[\d-]+\.csv", download.value.suggested_filename)
    download.value.save_as(tmp_path / "saved.csv")
    with (tmp_path / "saved.csv").open(newline="", encoding="utf-8") as lines:
        table = csv.DictReader(lines)
        assert list(table.fieldnames or ()) == columns(TASK)
        found = list(table)
    assert sum(line["decision"] == "refer" for line in found) == referred
    assert [line["error"] for line in found if line["error"]] == [archive.OUTSIDE]
