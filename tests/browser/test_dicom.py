"""A DICOM file on the page: its frames, its scale and its report."""

import io
import re
import zipfile
from pathlib import Path

import pydicom
import pytest
from playwright.sync_api import FilePayload, Page, expect
from pydicom import uid

from tests.support import dicom_files as made
from tests.support.app import ROOT
from tests.support.page_actions import EXAMPLE, drop, open_section, open_tab, upload


def test_a_cine_has_a_chart_a_scale_and_a_report(page: Page, tmp_path: Path) -> None:
    regions = made.regions(made.region(40, 40, 560, 440))
    frames = [made.drawn(640, 480), made.drawn(640, 480).rotate(180), made.drawn(640, 480)]
    content = made.of_frames(
        frames, "RGB", uid.JPEGBaseline8Bit, PatientName="Named^Patient", SequenceOfUltrasoundRegions=regions
    )
    panel = open_tab(page, "ultrasound")
    upload(panel, FilePayload(name="cine.dcm", mimeType="application/dicom", buffer=content))
    expect(panel.locator(".v-word")).to_be_visible()
    if panel.get_by_role("button", name="Show the answer anyway").is_visible():
        panel.get_by_role("button", name="Show the answer anyway").click()
    expect(panel.locator(".v-word")).to_have_text(re.compile("^(Refer|No referral)$"))
    # 520 pixels of 0.1 mm
    expect(panel.locator(".v-scale-bar")).to_have_text("10 mm")
    open_section(panel, "What the classes mean")
    chart = panel.get_by_role("img", name=re.compile("^3 of 3 frames were read"))
    expect(chart.locator("rect")).to_have_count(3)
    panel.get_by_label("Frame to report").select_option("1")
    expect(panel.locator(".v-warnings")).to_contain_text("Frame 2 of the cine is reported, because you chose it")
    expect(panel.get_by_label("Frame to report")).to_have_value("1")
    open_section(panel, "Report")
    with page.expect_download() as download:
        panel.get_by_role("button", name="Report (DICOM)").click()
    assert re.fullmatch(r"vigil-ultrasound-[\d-]+\.zip", download.value.suggested_filename)
    download.value.save_as(tmp_path / "report.zip")
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        objects = [pydicom.dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    assert sorted(data.Modality for data in objects) == ["OT", "SR"]
    assert not [data for data in objects if "Named" in str(data)]
    # Another kind of file has no such report.
    upload(panel, ROOT / "examples" / EXAMPLE["ultrasound"])
    expect(panel.locator(".v-caption")).to_contain_text("evidence")
    expect(panel.get_by_role("button", name="Report (PDF)")).to_be_visible()
    expect(panel.get_by_role("button", name="Report (DICOM)")).to_have_count(0)


@pytest.mark.parametrize("name", ["IM000001", "image.dcm"])
def test_a_file_without_a_type_can_be_dropped(page: Page, name: str, tmp_path: Path) -> None:
    """A browser knows no type for DICOM, and DICOM files often have no suffix."""
    file = tmp_path / name
    file.write_bytes(made.of_image(made.drawn(), "RGB", uid.ExplicitVRLittleEndian, Modality="XC"))
    panel = open_tab(page, "skin")
    drop(page, panel.locator(".v-image"), file)
    expect(panel.locator(".v-word")).to_be_visible()
