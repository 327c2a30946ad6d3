"""The tab for a clinic's own table."""

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.support.app import Server
from tests.support.score_tables import scored


def test_the_page_reads_a_table_and_logs_nothing(page: Page, server: Server, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Your clinic").click()
    panel = page.get_by_role("tabpanel").filter(
        has=page.get_by_role("heading", name="Set the threshold for your own clinic")
    )
    panel.get_by_role("radio", name="BreastMNIST").check()
    file = tmp_path / "a-table-of-ours.csv"
    file.write_text(scored())
    panel.locator("input[type=file]").set_input_files(file)
    answer = panel.get_by_role("status")
    expect(answer).to_contain_text("at least 95% of malignant cases")
    panel.get_by_role("radio", name="90%").check()
    expect(answer).to_contain_text("at least 90% of malignant cases")
    panel.get_by_role("radio", name="99%").check()
    expect(answer).to_contain_text("too few malignant cases")
    assert file.stem not in server.log.read_text()

    file.write_text("p_malignant,label\n0.5,benign\n0.5,cancer\n")
    panel.locator("input[type=file]").set_input_files(file)
    expect(panel.get_by_role("alert")).to_contain_text("Row 3: the label must be one of")
    expect(panel.get_by_role("status")).to_have_count(0)
