"""CSV that no spreadsheet takes for formulas, whichever character it parts cells by.

A file's name may hold one: `a;=HYPERLINK("http://…");b.jpg` is a single cell where commas part cells, and a formula in
a cell of its own where semicolons do, as in German or French Excel. Every cell is quoted, and an apostrophe, by which a
spreadsheet knows a text, stands wherever a formula could begin. `restored` takes it away again.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from typing import Final, TextIO

STARTS: Final = "=+-@\t\r＝＋－＠"
"""What a formula begins with; the last four in a spreadsheet set to Japanese or Chinese."""
SEPARATORS: Final = ',;|\t\r\n"'
"""What a cell may begin after; a quote too, after which a reader that parts by semicolons may see a cell of its own."""

_BEGINS: Final = rf"(?:^|(?<=[{SEPARATORS}]))"
_FORMULA: Final = rf"[ ']*[{re.escape(STARTS)}]"
_MARKED: Final = re.compile(rf"{_BEGINS}(?={_FORMULA})")
_MARK: Final = re.compile(rf"{_BEGINS}'(?={_FORMULA})")


def is_formula(text: str) -> bool:
    """Whether a cell of this text could be taken for a formula as a whole."""
    return bool(_MARKED.match(text))


def defused(text: str) -> str:
    """`text` with an apostrophe wherever a cell could begin that is taken for a formula."""
    return _MARKED.sub("'", text)


def restored(cell: str) -> str:
    """The text of which `defused` made `cell`."""
    return _MARK.sub("", cell)


class Writer:
    """Writes rows as CSV to `out`, begun with a header of `columns`.

    Raises ValueError for a row that has other columns.
    """

    def __init__(self, out: TextIO, columns: Sequence[str]) -> None:
        self._writer = csv.DictWriter(out, columns, lineterminator="\n", quoting=csv.QUOTE_ALL)
        self._writer.writeheader()

    def write(self, row: Mapping[str, str]) -> None:
        """Write a row; a column that it lacks is left empty."""
        self._writer.writerow({column: defused(cell) for column, cell in row.items()})
