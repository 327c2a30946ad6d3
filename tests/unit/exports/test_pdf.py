"""The report as PDF, read back with pypdf, and as JSON: src/exports/pdf.py and src/exports/json_report.py."""

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader

from src.exports import json_report, pdf, report_parts
from src.results import class_texts
from src.results.result import Result
from src.tasks import DISCLAIMER, TASKS
from tests.support import synthetic_results
from tests.support.synthetic_results import place

NOON = datetime(2026, 3, 4, 12, 5, tzinfo=UTC)
SCRIPT = "<script>alert(1)</script> <b>bold</b> **bold** __line__ {nb} \ue000"


def result(task: str = "histopathology", **changes: Any) -> Result:
    """An answer about the picture below."""
    plain: dict[str, Any] = {"p_malignant": 0.604, "threshold": 0.044, "size": [60, 45], "region": [0, 0, 60, 45]}
    return synthetic_results.result(task, **{**plain, **changes})


@pytest.fixture
def picture() -> Image.Image:
    """Left half red, right half green."""
    pixels = np.zeros((45, 60, 3), np.uint8)
    pixels[:, :30, 0] = pixels[:, 30:, 1] = 200
    return Image.fromarray(pixels)


@pytest.fixture
def heat_map() -> Image.Image:
    return Image.new("RGB", (60, 45), (0, 0, 200))


def words(data: bytes) -> str:
    """All the text of a PDF, on one line."""
    return " ".join(" ".join(page.extract_text() for page in PdfReader(BytesIO(data)).pages).split())


@pytest.mark.parametrize("task", TASKS)
def test_text_is_real_and_all_there(task: str, picture: Image.Image, heat_map: Image.Image) -> None:
    data = pdf.pdf(result(task, quality=["The picture is very dark."]), picture, heat_map, NOON)
    pages = PdfReader(BytesIO(data)).pages
    assert 1 <= len(pages) <= 2
    text = words(data)
    first = TASKS[task].classes[0]
    for needed in (
        f"Vigil report: {TASKS[task].title}",
        "2026-03-04 12:05 UTC",
        DISCLAIMER,
        "60 × 45 pixels",
        "read all of it",
        f"Grad-CAM shows the evidence for {first.name}",
        "Refer p(malignant) is 60.4%, at or above the threshold of 4.4%.",
        "The picture is very dark.",
        f"Most probable: {first.name}, {result(task).confidence} confidence.",
        "Set home, test split, held out from training 91.2% (85.3 to 95.6) – (0.0 to 100.0) 1,234 / 0",
        "Clopper-Pearson",
        "EfficientNetV2-B0",
        "13a71a65b94b",
        f"Page {len(pages)} of {len(pages)}",
    ):
        assert needed in text, needed
    for diagnosis in TASKS[task].classes:
        meaning = class_texts.CLASS_TEXTS[task][diagnosis.code]
        assert f"({'malignant' if diagnosis.malignant else 'not malignant'}): {meaning.plain}." in text
        assert meaning.what in text
        assert meaning.next_step in text
        assert class_texts.URGENCIES[diagnosis.urgency][0] in text
        assert all(source.url in text.replace(" ", "") for source in meaning.sources)
    assert all("not a diagnosis" in page.extract_text() for page in pages)


def test_picture_and_heat_map_are_embedded_once_each(picture: Image.Image, heat_map: Image.Image) -> None:
    embedded = [
        image.image for page in PdfReader(BytesIO(pdf.pdf(result(), picture, heat_map, NOON))).pages
        for image in page.images
    ]  # fmt: skip
    for found, drawn in zip(embedded, (picture, heat_map), strict=True):
        assert found is not None
        assert found.size == drawn.size
        assert np.abs(np.asarray(found.convert("RGB")).astype(int) - np.asarray(drawn)).mean() < 8


def test_the_networks_of_a_model_are_named_one_by_one(picture: Image.Image) -> None:
    text = words(pdf.pdf(result(members=[0.7, 0.506]), picture, None, NOON))
    assert "The mark is the threshold. The 2 networks of this model give 70.0%, 50.6%." in text
    assert "networks of this model" not in words(pdf.pdf(result(), picture, None, NOON))


def test_no_heat_map_no_referral_no_evaluation_and_a_part_read(picture: Image.Image) -> None:
    answer = result(
        "ultrasound",
        explanation="none",
        explained_class=None,
        heatmap_empty=None,
        decision="no referral",
        p_malignant=1e-6,
        region=[5, 6, 55, 40],
        region_kind="field",
        operating_point=None,
        screening={"places": [], "promises": []},
    )
    data = pdf.pdf(answer, picture, None, NOON)
    text = words(data)
    assert "read the scanned field: 50 × 34 pixels, 5 pixels from the left edge and 6 pixels from the upper" in text
    assert "No heat map" in text
    assert "No referral p(malignant) is <0.1%, below the threshold of 4.4%." in text
    assert "not evaluated" in text
    assert sum(len(page.images) for page in PdfReader(BytesIO(data)).pages) == 1


def test_an_empty_heat_map_and_the_lesion_that_was_found(picture: Image.Image, heat_map: Image.Image) -> None:
    answer = result(heatmap_empty=True, region=[5, 6, 55, 40], region_kind="lesion")
    text = words(pdf.pdf(answer, picture, heat_map, NOON))
    assert "no evidence in the image for No metastasis" in text
    assert "read the lesion that it found: 50 × 34 pixels" in text


def test_every_set_that_the_model_was_evaluated_on(picture: Image.Image, heat_map: Image.Image) -> None:
    own = {"sensitivity": 0.99, "sensitivity_interval": [0.97, 1]}
    places = [place("home", alone={"mel": own}), place("second"), place("away", sensitivity=0.5)]
    text = words(pdf.pdf(result("skin", screening={"places": places, "promises": []}), picture, heat_map, NOON))
    assert "Melanoma alone 99.0% (97.0 to 100.0)" in text
    assert "Set second, second test split" in text
    assert "Set away, external dataset, not used in training 50.0%" in text


def test_two_pages_do_whatever_the_names_hold(picture: Image.Image, heat_map: Image.Image) -> None:
    every_warning = [f"Warning {i}: {'a sentence about the picture ' * 4}" for i in range(9)]
    answer = result(
        "skin",
        model="model " * 500,
        revision="r" * 5000,
        quality=every_warning,
        screening={"places": [place(seen) for seen in ("home", "second", "away", "away")], "promises": []},
    )
    data = pdf.pdf(answer, picture.resize((45, 60)), heat_map.resize((45, 60)), NOON)
    assert len(PdfReader(BytesIO(data)).pages) == 2
    text = words(data)
    assert all(f"Warning {i}:" in text for i in range(9))
    assert "The JSON report explains the other classes." in text


def test_markup_in_names_is_text(picture: Image.Image, heat_map: Image.Image) -> None:
    data = pdf.pdf(result(model=SCRIPT, quality=[SCRIPT], revision=SCRIPT), picture, heat_map, NOON)
    # The private character, which stands for the number of pages, is dropped.
    assert words(data).count("<script>alert(1)</script> <b>bold</b> **bold** __line__ {nb}") == 3
    reader = PdfReader(BytesIO(data))
    assert not {"/Names", "/AA", "/AcroForm"} & reader.root_object.keys()
    assert not any({"/Annots", "/AA"} & page.keys() for page in reader.pages)
    assert b"/JavaScript" not in data
    assert "Page 2 of 2" in words(data)
    assert "stands for a character" not in words(data)


def test_letters_of_any_script(picture: Image.Image, heat_map: Image.Image, caplog: pytest.LogCaptureFixture) -> None:
    european, lacking, control = "Ümlaut Ελληνικά Кириллица", "皮膚 नमस्ते 🩺", "a\x00b\ue000c\u202ed\ne"
    answer = result(model=european, revision=lacking, quality=[control])
    text = words(pdf.pdf(answer, picture, heat_map, NOON))
    assert f"Model {european} Revision □□ □□□□□□ □ Reads" in text
    assert "□ stands for a character" in text
    assert "! a b c d e Classes" in text
    assert not caplog.records, "no letter of a name is logged as missing"
    content = json.loads(json_report.json_report(answer, picture, heat_map, NOON))
    assert [content["model"], content["revision"], *content["quality"]] == [european, lacking, control]


def test_json_has_the_same_content(picture: Image.Image, heat_map: Image.Image) -> None:
    answer = result()
    content = json.loads(json_report.json_report(answer, picture, heat_map, NOON))
    known = synthetic_results.as_dict("histopathology").keys()
    assert {key: content[key] for key in known} == answer.model_dump(mode="json")
    assert content.keys() - known == {"report", "date", "picture", "heatmap"}
    assert content["report"] == "Vigil report: Histopathology"
    assert content["date"] == "2026-03-04 12:05 UTC"
    for key, drawn in (("picture", picture), ("heatmap", heat_map)):
        head, data = content[key].split(",")
        assert head == "data:image/jpeg;base64"
        assert Image.open(BytesIO(base64.b64decode(data))).size == drawn.size
    assert json.loads(json_report.json_report(answer, picture, None, NOON))["heatmap"] is None


def test_the_same_report_but_for_its_date(picture: Image.Image, heat_map: Image.Image) -> None:
    for make in (pdf.pdf, json_report.json_report):
        made = make(result(), picture, heat_map, NOON)
        assert make(result(), picture, heat_map, NOON.astimezone(timezone(timedelta(hours=9)))) == made
        assert make(result(), picture, heat_map, NOON + timedelta(days=1)) != made


def test_nothing_that_a_file_says_of_itself_is_passed_on(heat_map: Image.Image) -> None:
    picture = Image.new("RGB", (60, 45))
    exif = Image.Exif()
    exif[0x010E] = "Jane Doe"
    picture.info = {"exif": exif.tobytes(), "comment": b"Jane Doe", "icc_profile": b"Jane Doe", "dpi": (72, 72)}
    content = json.loads(json_report.json_report(result(), picture, heat_map, NOON))
    assert b"Jane Doe" not in base64.b64decode(content["picture"].split(",")[1])
    images = PdfReader(BytesIO(pdf.pdf(result(), picture, heat_map, NOON))).pages[0].images
    assert all(b"Jane Doe" not in image.data for image in images)
    assert picture.info["comment"] == b"Jane Doe", "the picture handed in stays as it was"


def test_a_large_picture_is_embedded_smaller(heat_map: Image.Image) -> None:
    data = pdf.pdf(result(), Image.new("RGB", (4000, 3000)), heat_map, NOON)
    found = PdfReader(BytesIO(data)).pages[0].images[0].image
    assert found is not None
    assert found.size == (report_parts.LONGEST_SIDE, report_parts.LONGEST_SIDE * 3 // 4)


def test_a_rejected_image_says_that_the_visitor_asked_for_the_answer(picture: Image.Image) -> None:
    gate = synthetic_results.gate()
    doubtful = result("skin", gate=gate, quality=[gate["sentence"], "The picture is very dark."])
    text = words(pdf.pdf(doubtful, picture, None, NOON))
    assert "This looks like histology. The visitor asked to see the answer anyway." in text
    assert text.count("asked to see the answer") == 1
    assert json.loads(json_report.json_report(doubtful, picture, None, NOON))["gate"] == {**gate, "unlike": False}
    assert "asked to see the answer" not in words(pdf.pdf(result(quality=["Dark."]), picture, None, NOON))
