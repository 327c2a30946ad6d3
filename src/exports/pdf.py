"""The report as PDF: a Result, the image and its heat map on one or two pages of A4.

It is made in memory. It contains no file name and no metadata of the image, because either may name a patient. Texts
are printed as they are, because markup in them means nothing. src/exports/pdf_sheet.py has fonts, margins and tables.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from io import BytesIO
from typing import Any, Final

from fpdf import FontFace
from fpdf.enums import XPos, YPos
from PIL import Image

from src.exports.pdf_sheet import (
    CLEAR,
    CLEAR_BACKGROUND,
    FAINT,
    INK,
    LINE,
    MARGIN,
    REFER,
    REFER_BACKGROUND,
    WARN,
    Colour,
    Sheet,
)
from src.exports.report_parts import jpeg, title
from src.models.prediction import RegionKind
from src.results.class_texts import BARS, CLASS_TEXTS, CONFIDENCE_NOTE, URGENCIES, URGENCY_NOTE
from src.results.formatting import percent
from src.results.result import Result
from src.tasks import Urgency

URGENCY_COLOURS: Final[Mapping[Urgency, Colour]] = {"urgent": REFER, "soon": WARN, "routine": CLEAR, "none": FAINT}
IMAGE_HEIGHT = 62  # mm

_KINDS = {
    "home": "test split, held out from training",
    "second": "second test split, held out from training",
    "away": "external dataset, not used in training",
}


def pdf(result: Result, image: Image.Image, heat_map: Image.Image | None, date: datetime) -> bytes:
    """The report on one or two pages of A4. The same arguments give the same bytes.

    `image` and `heat_map` are RGB and upright; `heat_map` is None if none was requested. `date` knows its time zone.
    """
    sheet = _sheet(result, image, heat_map, date, explained=len(result.classes))
    # With many warnings and test sets, there is only room to explain the most probable class.
    return bytes((sheet if sheet.pages_count <= 2 else _sheet(result, image, heat_map, date, explained=1)).output())


def _sheet(result: Result, image: Image.Image, heat_map: Image.Image | None, date: datetime, explained: int) -> Sheet:
    """The report, which explains the `explained` most probable classes."""
    sheet = Sheet(title(result), date)
    sheet.header_block()
    _images(sheet, result, image, heat_map)
    _decision(sheet, result)
    _warnings(sheet, result)
    _classes(sheet, result)
    _operating_point(sheet, result)
    _model(sheet, result)
    _meanings(sheet, result, explained)
    sheet.end()
    return sheet


READ_PARTS: Final[Mapping[RegionKind, str]] = {
    "picture": "the framed part",
    "field": "the scanned field",
    "lesion": "the lesion that it found",
    "tile": "the tile with the highest p(malignant)",
}


def _images(sheet: Sheet, result: Result, image: Image.Image, heat_map: Image.Image | None) -> None:
    gap = 6
    width = (sheet.epw - gap) / 2
    (left, upper, right, lower), (image_width, image_height) = result.region, result.size
    caption = f"The image has {image_width} × {image_height} pixels."
    if result.whole_image:
        caption += " The model read all of it."
    else:
        part = READ_PARTS[result.region_kind]
        caption += (
            f" The model read {part}: {right - left} × {lower - upper} pixels, {left} pixels from the left edge and "
            f"{upper} pixels from the upper edge."
        )
    columns = [(image, caption)]
    if heat_map is not None:
        columns.append((heat_map, _heat_map_caption(result)))
    else:
        columns[0] = image, f"{caption} No heat map was requested."
    top = sheet.y
    ends = []
    for i, (drawn, text) in enumerate(columns):
        x = MARGIN + i * (width + gap)
        scale = min(width / drawn.width, IMAGE_HEIGHT / drawn.height)
        sheet.image(
            BytesIO(jpeg(drawn)), x, top, drawn.width * scale, drawn.height * scale, alt_text=sheet.printable(text)
        )
        sheet.set_xy(x, top + drawn.height * scale + 1)
        sheet.style(7.5, FAINT)
        sheet.multi_cell(width, 3.7, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        ends.append(sheet.y)
    sheet.set_xy(MARGIN, max(ends) + 2.5)


def _heat_map_caption(result: Result) -> str:
    name = next(one.name for one in result.about_task.classes if one.code == result.explained_class)
    if result.heatmap_empty:
        return f"{result.explanation} finds no evidence in the image for {name}."
    return f"{result.explanation} shows the evidence for {name}. Purple is weak, yellow is strong."


def _decision(sheet: Sheet, result: Result) -> None:
    p, threshold = result.p_malignant, result.threshold
    refer = result.decision == "refer"
    edge, background = (REFER, REFER_BACKGROUND) if refer else (CLEAR, CLEAR_BACKGROUND)
    with sheet.box(24, edge, background):
        sheet.style(15, edge, bold=True)
        sheet.cell(0, 7, "Refer" if refer else "No referral", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        sheet.paragraph(
            ("p(malignant) is ", False),
            (percent(p), True),
            (f", {'at or above' if refer else 'below'} the threshold of ", False),
            (f"{percent(threshold)}.", True),
        )
        # A bar for p(malignant) with a mark at the threshold.
        x, y, width = sheet.x, sheet.y + 2.2, sheet.epw
        sheet.set_fill_color(*LINE)
        sheet.rect(x, y, width, 2.6, style="F")
        sheet.set_fill_color(*edge)
        sheet.rect(x, y, width * p, 2.6, style="F")
        sheet.set_fill_color(*INK)
        sheet.rect(x + width * threshold - 0.4, y - 1, 0.8, 4.6, style="F")
        sheet.set_xy(x, y + 3.8)
        sheet.style(7, FAINT)
        middle = "p(malignant). The mark is the threshold."
        if result.members:
            each = ", ".join(map(percent, result.members))
            middle += f" The {len(result.members)} networks of this model give {each}."
        for text, align in (("0%", "L"), (middle, "C"), ("100%", "R")):
            sheet.set_x(x)
            sheet.cell(width, 3, text, align=align)


def _warnings(sheet: Sheet, result: Result) -> None:
    if result.quality:
        sheet.section("Warnings about this image")
        for i, line in enumerate(result.quality):
            despite_gate = " The visitor asked to see the answer anyway." if i == 0 and result.rejected else ""
            sheet.paragraph(("! ", True), (sheet.printable(line) + despite_gate, False), colour=WARN)


def _classes(sheet: Sheet, result: Result) -> None:
    diagnoses = {diagnosis.code: diagnosis for diagnosis in result.about_task.classes}
    first = result.classes[0]
    sheet.section("Classes", needed=12 + 6 * len(diagnoses))
    rows: list[list[Any]] = [["Class", "Malignant", "Urgency of such a finding", "Probability"]]
    for one in result.classes:
        diagnosis = diagnoses[one.code]
        word, bars = URGENCIES[diagnosis.urgency]
        urgency = f"{'▮' * bars}{'▯' * (BARS - bars)} {word}", FontFace(color=URGENCY_COLOURS[diagnosis.urgency])
        rows.append([diagnosis.name, "malignant" if diagnosis.malignant else "no", urgency, percent(one.probability)])
    sheet.rows(rows, (74, 32, 44, 28))
    sheet.ln(1)
    sheet.paragraph(
        ("Most probable: ", False),
        (f"{diagnoses[first.code].name}, {result.confidence} confidence. ", True),
        (CONFIDENCE_NOTE, False),
        size=7.5,
    )


def _operating_point(sheet: Sheet, result: Result) -> None:
    sheet.section(f"What the threshold of {percent(result.threshold)} costs", needed=28)
    point, held_out_sets = result.operating_point, result.screening.places
    if point is None or not held_out_sets:
        sheet.paragraph(("This is not known, because the checkpoint was not evaluated on a test split.", False))
        return
    names = {diagnosis.code: diagnosis.name for diagnosis in result.about_task.classes}
    rows = [["Evaluated on", "Sensitivity", "Specificity", "Malignant / not"]]
    for held_out in held_out_sets:
        rows.append(
            [
                f"{sheet.printable(held_out.set)}, {_KINDS[held_out.kind]}",
                _share(held_out.sensitivity, held_out.sensitivity_interval),
                _share(held_out.specificity, held_out.specificity_interval),
                f"{held_out.positives:,} / {held_out.negatives:,}",
            ]
        )
        for code, alone in held_out.alone.items():
            sensitivity = _share(alone.sensitivity, alone.sensitivity_interval)
            rows.append([f"   {sheet.printable(names.get(code, code))} alone", sensitivity, "", ""])
    sheet.rows(rows, (62, 43, 43, 30))
    sheet.ln(1)
    sheet.paragraph(
        (
            f"The 95% interval ({sheet.printable(point.interval_method)}) is in brackets. The last column has the "
            "numbers of images. Sensitivity is the share of malignant images that are referred. Specificity is the "
            "share of the other images that are not referred.",
            False,
        ),
        size=7.5,
        colour=FAINT,
    )


def _model(sheet: Sheet, result: Result) -> None:
    task = result.about_task
    sheet.section("Model", needed=30)
    sheet.rows(
        [
            ["Model", sheet.printable(result.model)],
            ["Revision", sheet.printable(result.revision)],
            ["Reads", task.modality],
            ["Training data", task.data_set],
            ["Date", sheet.timestamp],
        ],
        (26, 152),
        heading=False,
    )


def _meanings(sheet: Sheet, result: Result, explained: int) -> None:
    diagnoses = {diagnosis.code: diagnosis for diagnosis in result.about_task.classes}
    sheet.section("What the classes mean", needed=50)
    sheet.paragraph((URGENCY_NOTE, False), size=7.5, colour=FAINT)
    for one in result.classes[:explained]:
        diagnosis, text = diagnoses[one.code], CLASS_TEXTS[result.task][one.code]
        if sheet.will_page_break(20):
            sheet.add_page()
        sheet.ln(1.4)
        sheet.paragraph(
            (f"{diagnosis.name} ", True),
            (f"({'malignant' if diagnosis.malignant else 'not malignant'}): {text.plain}.", False),
            size=8,
        )
        sheet.paragraph((text.what, False), size=7.5)
        sheet.paragraph(("Usual next step: ", True), (text.next_step, False), size=7.5)
        sources = "; ".join(f"{source.title}, {source.url}" for source in text.sources)
        sheet.paragraph((f"Source: {sources}", False), size=6.5, colour=FAINT)
    if explained < len(diagnoses):
        sheet.ln(1.4)
        sheet.paragraph(("The JSON report explains the other classes.", False), size=7.5)


def _share(value: float | None, interval: Sequence[float]) -> str:
    shown = "–" if value is None else percent(value)
    return f"{shown} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
