"""A report to take away: a Result, the picture and its heat map -> a PDF, or the same content as JSON.

Made in memory. Knows layout and wording; nothing of Gradio, models or files. No file name and no metadata of the
picture gets in, since either may name a patient. Text is set as text, and no markup in it means anything. The letters
are DejaVu Sans's, which matplotlib brings along, and of them only those used go into the PDF; a character that it lacks
is printed as □, and the report says so. The JSON has every character.
"""

import json
import unicodedata
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from fpdf import FPDF, FontFace
from fpdf.enums import TableBordersLayout, XPos, YPos
from PIL import Image

from src.models.prediction import RegionKind
from src.results.class_texts import BARS, CLASS_TEXTS, HOW_SURE, HOW_URGENT, URGENCIES
from src.results.formatting import percent
from src.results.result import Result
from src.tasks import DISCLAIMER, Urgency

Colour = tuple[int, int, int]

# Those of src/page/page.css, in light.
INK, FAINT, LINE = (31, 41, 55), (87, 99, 115), (203, 213, 225)
REFER, REFER_GROUND = (163, 52, 11), (253, 241, 234)
CLEAR, CLEAR_GROUND = (21, 94, 117), (236, 246, 249)
WARN, WARN_GROUND = (138, 90, 0), (253, 246, 227)
URGENCY_COLOURS: Mapping[Urgency, Colour] = {"urgent": REFER, "soon": WARN, "routine": CLEAR, "none": FAINT}

MARGIN, FOOT = 16, 17  # mm
PICTURE_HEIGHT = 62  # mm
PICTURE_SIDE = 1200  # px: 300 a printed inch and more
LONGEST = 200  # characters of what a checkpoint says of itself, so that two pages do
LACKING = "□"
PAGES = "\ue000"  # stands for the number of pages; of no text, because printable() drops private characters

_WHERE = {
    "home": "at home: held out from training",
    "second": "at home, second set: held out from training",
    "away": "away: nothing of it in training",
}


def as_json(result: Result, picture: Image.Image, heat_map: Image.Image | None, date: datetime) -> bytes:
    """`result` with the report's title and date, and both pictures as `data:` URLs of JPEGs. ASCII."""
    content = {
        "report": _title(result),
        "date": _stamp(date),
        **result.model_dump(mode="json"),
        "picture": _data_url(picture),
        "heatmap": None if heat_map is None else _data_url(heat_map),
    }
    return json.dumps(content, indent=2, allow_nan=False).encode("ascii")


def pdf(result: Result, picture: Image.Image, heat_map: Image.Image | None, date: datetime) -> bytes:
    """The report on one or two pages of A4. The same arguments give the same bytes.

    `picture` and `heat_map` (None where none was asked for) are RGB and upright; `date` knows its time zone.
    """
    sheet = _set(result, picture, heat_map, date, explained=len(result.classes))
    # Many warnings and places leave too little room to explain what is less probable.
    return bytes((sheet if sheet.pages_count <= 2 else _set(result, picture, heat_map, date, explained=1)).output())


def _set(
    result: Result, picture: Image.Image, heat_map: Image.Image | None, date: datetime, explained: int
) -> "_Sheet":
    """The report with the `explained` most probable classes explained."""
    sheet = _Sheet(_title(result), date)
    sheet.top()
    _pictures(sheet, result, picture, heat_map)
    _decision(sheet, result)
    _warnings(sheet, result)
    _classes(sheet, result)
    _operating_point(sheet, result)
    _model(sheet, result)
    _meanings(sheet, result, explained)
    sheet.end()
    return sheet


def _title(result: Result) -> str:
    return f"Vigil report: {result.about_task.title}"


def _stamp(date: datetime) -> str:
    return date.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _jpeg(image: Image.Image) -> bytes:
    """At most PICTURE_SIDE, without what the file may have said besides (EXIF, comments)."""
    small = image.convert("RGB")
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    small.info = {}
    file = BytesIO()
    small.save(file, "JPEG", quality=90, subsampling=0)
    return file.getvalue()


def _data_url(image: Image.Image) -> str:
    return f"data:image/jpeg;base64,{b64encode(_jpeg(image)).decode()}"


class _Sheet(FPDF):
    """A4 with our letters, margins and foot; what is set goes through `printable`."""

    def __init__(self, title: str, date: datetime) -> None:
        # Imported here: the app has no other use for matplotlib until there is a heat map.
        import matplotlib

        super().__init__(format="A4")
        self.heading, self.stamp = title, _stamp(date)
        self.set_creation_date(date.astimezone(UTC))
        self.set_title(title)
        self.set_lang("en")
        self.alias_nb_pages(PAGES)
        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        self.add_font("DejaVu", "", fonts / "DejaVuSans.ttf")
        self.add_font("DejaVu", "B", fonts / "DejaVuSans-Bold.ttf")
        self._letters = set.intersection(*({*font.cmap} for font in self.fonts.values() if hasattr(font, "cmap")))
        self.lacked = False
        self.set_margin(MARGIN)
        self.c_margin = 0
        self.set_auto_page_break(True, FOOT)
        self.set_draw_color(*LINE)
        self.set_line_width(0.25)

    def printable(self, text: object) -> str:
        """One line of at most LONGEST characters of which the letters have each; no control or private characters."""
        kept = "".join(" " if unicodedata.category(letter)[0] == "C" else letter for letter in str(text))
        line = " ".join(kept.split())
        line = line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
        shown = "".join(letter if ord(letter) in self._letters else LACKING for letter in line)
        self.lacked |= shown != line
        return shown

    def top(self) -> None:
        """The first page's head: title, date and disclaimer."""
        self.add_page()
        self.style(16, bold=True)
        self.cell(self.epw * 0.68, 8, self.heading)
        self.style(8.5, FAINT)
        self.cell(0, 8, self.stamp, align="R", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(1)
        with self.boxed(11, WARN, WARN_GROUND):
            self.style(8.5, bold=True)
            self.multi_cell(0, 4.2, DISCLAIMER, align="L")
        self.ln(3)

    def footer(self) -> None:
        """FPDF's hook for the foot of every page."""
        self.set_y(-FOOT + 3)
        self.style(7, FAINT)
        self.cell(self.epw - 24, 4, "Research and education only, not a diagnosis.  ·  " + self.stamp)
        self.cell(24, 4, f"Page {self.page_no()} of {PAGES}", align="R")

    def style(self, size: float, colour: Colour = INK, bold: bool = False) -> None:
        """The letters from here on; `size` in points."""
        self.set_font("DejaVu", "B" if bold else "", size)
        self.set_text_color(*colour)

    def boxed(self, height: float, edge: Colour, ground: Colour) -> Any:
        """A box of the page's width, `height` in mm, and a context whose text stands in it."""
        self.set_fill_color(*ground)
        self.set_draw_color(*edge)
        self.rect(self.l_margin, self.y, self.epw, height, style="DF", round_corners=True, corner_radius=1.5)
        self.set_draw_color(*LINE)
        return _Inset(self, height)

    def section(self, title: str, needs: float = 20) -> None:
        """A heading, on the next page where fewer than `needs` mm are left on this."""
        if self.will_page_break(needs):
            self.add_page()
        self.ln(2.2)
        self.style(10, bold=True)
        self.cell(0, 5.5, title, new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def paragraph(self, *parts: tuple[str, bool], size: float = 8.5, colour: Colour = INK) -> None:
        """Texts one after the other, each bold or not."""
        for text, bold in parts:
            self.style(size, colour, bold)
            self.write(size * 0.49, text)
        self.ln(size * 0.49)

    def rows(self, rows: Sequence[Sequence[Any]], widths: Sequence[float], heading: bool = True) -> None:
        """A table; a cell is a text, or a text and its face."""
        self.style(8.5)
        self.set_fill_color(255)
        with self.table(
            col_widths=tuple(widths),
            borders_layout=TableBordersLayout.HORIZONTAL_LINES,
            first_row_as_headings=heading,
            headings_style=FontFace(emphasis="", color=FAINT),
            text_align="LEFT",
            line_height=4.6,
            padding=(0.4, 1, 0.4, 0),
        ) as table:
            for cells in rows:
                row = table.row()
                for cell in cells:
                    text, style = cell if isinstance(cell, tuple) else (cell, None)
                    row.cell(text, style=style)

    def end(self) -> None:
        """A word on letters that were lacking."""
        if self.lacked:
            self.paragraph(
                (f"{LACKING} stands for a character that these letters do not have; the JSON report has it.", False),
                size=7,
                colour=FAINT,
            )


class _Inset:
    """Narrower margins within a box, and below it afterwards."""

    def __init__(self, sheet: _Sheet, height: float) -> None:
        self._sheet, self._bottom = sheet, sheet.y + height

    def __enter__(self) -> None:
        self._sheet.set_margins(MARGIN + 3, MARGIN, MARGIN + 3)
        self._sheet.set_xy(MARGIN + 3, self._sheet.y + 1.4)

    def __exit__(self, *_: object) -> None:
        self._sheet.set_margins(MARGIN, MARGIN, MARGIN)
        self._sheet.set_xy(MARGIN, self._bottom)


READ_PARTS: Final[Mapping[RegionKind, str]] = {
    "picture": "framed part",
    "field": "scanned field",
    "lesion": "lesion that was found",
    "tile": "tile with the highest p(malignant)",
}


def _pictures(sheet: _Sheet, result: Result, picture: Image.Image, heat_map: Image.Image | None) -> None:
    gap = 6
    width = (sheet.epw - gap) / 2
    (left, upper, right, lower), (wide, high) = result.region, result.size
    read = f"The picture, {wide} × {high} pixels."
    if result.whole_image:
        read += " All of it was read."
    else:
        what = READ_PARTS[result.region_kind]
        read += f" The {what} was read: {right - left} × {lower - upper} pixels from {left}, {upper}."
    columns = [(picture, read)]
    if heat_map is not None:
        columns.append((heat_map, _caption(result)))
    else:
        columns[0] = picture, f"{read} No heat map was asked for."
    top = sheet.y
    ends = []
    for i, (image, caption) in enumerate(columns):
        x = MARGIN + i * (width + gap)
        scale = min(width / image.width, PICTURE_HEIGHT / image.height)
        sheet.image(
            BytesIO(_jpeg(image)), x, top, image.width * scale, image.height * scale, alt_text=sheet.printable(caption)
        )
        sheet.set_xy(x, top + image.height * scale + 1)
        sheet.style(7.5, FAINT)
        sheet.multi_cell(width, 3.7, caption, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        ends.append(sheet.y)
    sheet.set_xy(MARGIN, max(ends) + 2.5)


def _caption(result: Result) -> str:
    name = next(one.name for one in result.about_task.classes if one.code == result.explained_class)
    if result.heatmap_empty:
        return f"{result.explanation}: nothing in the picture argues for {name}."
    return f"{result.explanation}: what argues for {name}; purple is weak, yellow strong."


def _decision(sheet: _Sheet, result: Result) -> None:
    p, threshold = result.p_malignant, result.threshold
    refer = result.decision == "refer"
    edge, ground = (REFER, REFER_GROUND) if refer else (CLEAR, CLEAR_GROUND)
    with sheet.boxed(24, edge, ground):
        sheet.style(15, edge, bold=True)
        sheet.cell(0, 7, "Refer" if refer else "No referral", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        sheet.paragraph(
            ("p(malignant) is ", False),
            (percent(p), True),
            (f", {'at or above' if refer else 'below'} the threshold of ", False),
            (f"{percent(threshold)}.", True),
        )
        # The bar, and a mark at the threshold.
        x, y, width = sheet.x, sheet.y + 2.2, sheet.epw
        sheet.set_fill_color(*LINE)
        sheet.rect(x, y, width, 2.6, style="F")
        sheet.set_fill_color(*edge)
        sheet.rect(x, y, width * p, 2.6, style="F")
        sheet.set_fill_color(*INK)
        sheet.rect(x + width * threshold - 0.4, y - 1, 0.8, 4.6, style="F")
        sheet.set_xy(x, y + 3.8)
        sheet.style(7, FAINT)
        for text, align in (("0%", "L"), ("p(malignant); the mark is the threshold", "C"), ("100%", "R")):
            sheet.set_x(x)
            sheet.cell(width, 3, text, align=align)


def _warnings(sheet: _Sheet, result: Result) -> None:
    if result.quality:
        sheet.section("About this picture: warnings")
        for i, line in enumerate(result.quality):
            asked = " Read all the same, because the reader asked for it." if i == 0 and result.rejected else ""
            sheet.paragraph(("! ", True), (sheet.printable(line) + asked, False), colour=WARN)


def _classes(sheet: _Sheet, result: Result) -> None:
    diagnoses = {diagnosis.code: diagnosis for diagnosis in result.about_task.classes}
    first = result.classes[0]
    sheet.section("Classes", needs=12 + 6 * len(diagnoses))
    rows: list[list[Any]] = [["Class", "Malignant", "Urgency, if it is that", "Probability"]]
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
        (HOW_SURE, False),
        size=7.5,
    )


def _operating_point(sheet: _Sheet, result: Result) -> None:
    sheet.section(f"What the threshold of {percent(result.threshold)} costs", needs=28)
    places, point = result.screening.places, result.operating_point
    if point is None or not places:
        sheet.paragraph(("Not evaluated: this checkpoint brings no figures from a test split.", False))
        return
    names = {diagnosis.code: diagnosis.name for diagnosis in result.about_task.classes}
    rows = [["Measured on", "Sensitivity", "Specificity", "Malignant / not"]]
    for place in places:
        rows.append(
            [
                f"{sheet.printable(place.set)}, {_WHERE[place.kind]}",
                _share(place.sensitivity, place.sensitivity_interval),
                _share(place.specificity, place.specificity_interval),
                f"{place.positives:,} / {place.negatives:,}",
            ]
        )
        for code, alone in place.alone.items():
            own = _share(alone.sensitivity, alone.sensitivity_interval)
            rows.append([f"   {sheet.printable(names.get(code, code))} alone", own, "", ""])
    sheet.rows(rows, (62, 43, 43, 30))
    sheet.ln(1)
    sheet.paragraph(
        (
            f"In brackets the 95% interval ({sheet.printable(point.interval_method)}); last the pictures counted. "
            "Sensitivity: of the malignant ones, how many are referred. Specificity: of the others, how many are not.",
            False,
        ),
        size=7.5,
        colour=FAINT,
    )


def _model(sheet: _Sheet, result: Result) -> None:
    task = result.about_task
    sheet.section("Model", needs=30)
    sheet.rows(
        [
            ["Model", sheet.printable(result.model)],
            ["Revision", sheet.printable(result.revision)],
            ["Reads", f"{task.modality}; learned from {task.data_set}"],
            ["Date", sheet.stamp],
        ],
        (26, 152),
        heading=False,
    )


def _meanings(sheet: _Sheet, result: Result, explained: int) -> None:
    diagnoses = {diagnosis.code: diagnosis for diagnosis in result.about_task.classes}
    sheet.section("What the classes mean", needs=50)
    sheet.paragraph((HOW_URGENT, False), size=7.5, colour=FAINT)
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
