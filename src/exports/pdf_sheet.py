"""The A4 sheet of the PDF report: its font, margins, header, footer, boxes, paragraphs and tables.

Knows nothing of results. The font is DejaVu Sans, which comes with matplotlib. The PDF contains only the letters that
it uses. A character that the font lacks is printed as □, and the last line says so.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fpdf import FPDF, FontFace
from fpdf.enums import TableBordersLayout, XPos, YPos

from src.exports.report_parts import timestamp
from src.tasks import DISCLAIMER

Colour = tuple[int, int, int]

# The light colours of src/page/tokens.css.
INK, FAINT, LINE = (31, 41, 55), (87, 99, 115), (203, 213, 225)
REFER, REFER_BACKGROUND = (163, 52, 11), (253, 241, 234)
CLEAR, CLEAR_BACKGROUND = (21, 94, 117), (236, 246, 249)
WARN, WARN_BACKGROUND = (138, 90, 0), (253, 246, 227)

MARGIN, FOOTER = 16, 17  # mm
INSET = 3  # mm
MAX_LENGTH = 200
"""The most characters of a text from a checkpoint, so that the report fits on two pages."""
MISSING_CHARACTER = "□"
PAGE_COUNT = "\ue000"
"""FPDF replaces this character by the number of pages. No text contains it, because `printable` removes private
characters."""


class Sheet(FPDF):
    """An A4 document with the font, the margins and the footer of a report.

    Texts that are not our own must go through `printable`.
    """

    def __init__(self, title: str, date: datetime) -> None:
        # matplotlib is imported here, because the app does not need it before the first heat map or report.
        import matplotlib

        super().__init__(format="A4")
        self.heading, self.timestamp = title, timestamp(date)
        self.set_creation_date(date.astimezone(UTC))
        self.set_title(title)
        self.set_lang("en")
        self.alias_nb_pages(PAGE_COUNT)
        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        self.add_font("DejaVu", "", fonts / "DejaVuSans.ttf")
        self.add_font("DejaVu", "B", fonts / "DejaVuSans-Bold.ttf")
        self._letters = set.intersection(*({*font.cmap} for font in self.fonts.values() if hasattr(font, "cmap")))
        self.lacks_characters = False
        self.set_margin(MARGIN)
        self.c_margin = 0
        self.set_auto_page_break(True, FOOTER)
        self.set_draw_color(*LINE)
        self.set_line_width(0.25)

    def printable(self, text: object) -> str:
        """The text as one line of at most MAX_LENGTH characters, all in the font, without control characters."""
        visible = "".join(" " if unicodedata.category(letter)[0] == "C" else letter for letter in str(text))
        line = " ".join(visible.split())
        line = line if len(line) <= MAX_LENGTH else f"{line[: MAX_LENGTH - 1]}…"
        shown = "".join(letter if ord(letter) in self._letters else MISSING_CHARACTER for letter in line)
        self.lacks_characters |= shown != line
        return shown

    def header_block(self) -> None:
        """Begin the first page with title, date and disclaimer."""
        self.add_page()
        self.style(16, bold=True)
        self.cell(self.epw * 0.68, 8, self.heading)
        self.style(8.5, FAINT)
        self.cell(0, 8, self.timestamp, align="R", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(1)
        with self.box(11, WARN, WARN_BACKGROUND):
            self.style(8.5, bold=True)
            self.multi_cell(0, 4.2, DISCLAIMER, align="L")
        self.ln(3)

    def footer(self) -> None:
        """Draw the footer. FPDF calls this on every page."""
        self.set_y(-FOOTER + 3)
        self.style(7, FAINT)
        self.cell(self.epw - 24, 4, "Research and education only, not a diagnosis.  ·  " + self.timestamp)
        self.cell(24, 4, f"Page {self.page_no()} of {PAGE_COUNT}", align="R")

    def style(self, size: float, colour: Colour = INK, bold: bool = False) -> None:
        """Set the style of the text that follows; `size` is in points."""
        self.set_font("DejaVu", "B" if bold else "", size)
        self.set_text_color(*colour)

    @contextmanager
    def box(self, height: float, edge: Colour, background: Colour) -> Iterator[None]:
        """Draw a box of `height` mm. The text of the `with` block stands inside it, and later text below it."""
        self.set_fill_color(*background)
        self.set_draw_color(*edge)
        self.rect(self.l_margin, self.y, self.epw, height, style="DF", round_corners=True, corner_radius=1.5)
        self.set_draw_color(*LINE)
        bottom = self.y + height
        self.set_margins(MARGIN + INSET, MARGIN, MARGIN + INSET)
        self.set_xy(MARGIN + INSET, self.y + 1.4)
        yield
        self.set_margins(MARGIN, MARGIN, MARGIN)
        self.set_xy(MARGIN, bottom)

    def section(self, title: str, needed: float = 20) -> None:
        """Write a heading, on a new page if fewer than `needed` mm are left on this page."""
        if self.will_page_break(needed):
            self.add_page()
        self.ln(2.2)
        self.style(10, bold=True)
        self.cell(0, 5.5, title, new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def paragraph(self, *parts: tuple[str, bool], size: float = 8.5, colour: Colour = INK) -> None:
        """Write a paragraph of texts, each of them bold or not."""
        for text, bold in parts:
            self.style(size, colour, bold)
            self.write(size * 0.49, text)
        self.ln(size * 0.49)

    def rows(self, rows: Sequence[Sequence[Any]], widths: Sequence[float], heading: bool = True) -> None:
        """Draw a table. A cell is a text, or a text and its FontFace."""
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
        """Explain MISSING_CHARACTER if the report contains it."""
        if self.lacks_characters:
            self.paragraph(
                (f"{MISSING_CHARACTER} stands for a character that the font lacks; the JSON report has it.", False),
                size=7,
                colour=FAINT,
            )
