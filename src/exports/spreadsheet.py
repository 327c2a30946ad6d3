"""Writes CSV in which no spreadsheet finds a formula, whichever character separates its cells.

The name of a file can contain a formula. `a;=HYPERLINK("http://…");b.jpg` is one cell if commas separate cells. If
semicolons do, as in German or French Excel, its middle part is a cell with a formula. So every cell is quoted, and an
apostrophe, which marks a text in a spreadsheet, is added wherever a formula could begin. `restored` removes it.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from typing import Final, TextIO

STARTS: Final = "=+-@\t\r＝＋－＠"
"""The characters that begin a formula; the last four do in a Japanese or Chinese spreadsheet."""
SEPARATORS: Final = ',;|\t\r\n"'
"""The characters after which a cell can begin. A program that separates cells by semicolons may also begin one after a
quote."""

CHOSEN_SEPARATORS: Final = " :^~_"
"""Characters after which a cell begins only where somebody chooses them as the separator. A minus with a space behind
it is left alone there: "scan - left.jpg" is a usual name, and no formula."""

_BEGINS: Final = rf"(?:^|(?<=[{SEPARATORS}]))"
_FORMULA: Final = rf"[ ']*[{re.escape(STARTS)}]"
_BEGINS_IF_CHOSEN: Final = rf"(?<=[{re.escape(CHOSEN_SEPARATORS)}])"
_FORMULA_IF_CHOSEN: Final = r"'*(?:[=+@＝＋＠]|[-－](?=\S))"
_MARKED: Final = re.compile(rf"{_BEGINS}(?={_FORMULA})|{_BEGINS_IF_CHOSEN}(?={_FORMULA_IF_CHOSEN})")
_MARK: Final = re.compile(rf"{_BEGINS}'(?={_FORMULA})|{_BEGINS_IF_CHOSEN}'(?={_FORMULA_IF_CHOSEN})")


def is_formula(text: str) -> bool:
    """Whether a spreadsheet could read a cell with this text as a formula."""
    return bool(_MARKED.match(text))


def defused(text: str) -> str:
    """`text` with an apostrophe wherever a cell with a formula could begin."""
    return _MARKED.sub("'", text)


def restored(cell: str) -> str:
    """The text that `defused` turned into `cell`."""
    return _MARK.sub("", cell)


class Writer:
    """Writes rows as CSV to `out`, after a header of `columns`."""

    def __init__(self, out: TextIO, columns: Sequence[str]) -> None:
        self._writer = csv.DictWriter(out, columns, lineterminator="\n", quoting=csv.QUOTE_ALL)
        self._writer.writeheader()

    def write(self, row: Mapping[str, str]) -> None:
        """Write a row. A column that it lacks is left empty. Raises ValueError for a row with another column."""
        self._writer.writerow({column: defused(cell) for column, cell in row.items()})
