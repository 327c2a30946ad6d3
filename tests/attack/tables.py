"""Tables that come in and go out: a clinic's scores (section 5), and the CSV of many pictures (point 8)."""

import csv
import io
import json
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from src.exports.spreadsheet import STARTS
from src.results import local_validation
from src.server.routes import HEALTH
from tests.attack.bench import Bench, Checks
from tests.attack.files import EXAMPLE, read_many, read_table
from tests.attack.row import Row
from tests.attack.visitor import Visitor, content

QUICK, ANSWERED = 0.25, 20
"""The longest acceptable seconds: of 99 in 100 requests of /healthz beside the tables, and of a table."""


def clinic(bench: Bench) -> Iterator[Row]:
    """Send the largest table repeatedly, while another visitor requests /healthz."""
    rng = np.random.default_rng(0)
    rows = 20_000 if bench.short else local_validation.MAX_ROWS
    lines = zip(rng.permutation(rows) / rows, np.where(rng.random(rows) < 0.02, "malignant", "benign"), strict=True)
    text = "p_malignant,label\n" + "".join(f"{score:.6f},{label}\n" for score, label in lines)
    visitor, glancing, times = Visitor(bench.app.url), Visitor(bench.app.url), 2 if bench.short else 10
    file = visitor.upload(text.encode(), "table.csv")
    took: list[float] = []
    wrong: list[str] = []

    def read() -> None:
        for number in range(times):
            began = time.monotonic()
            said = read_table(visitor, file, f"clinic{number}")
            took.append(time.monotonic() - began)
            if f"{rows:,} cases" not in said:
                wrong.append(said[:150])

    reading, glances = threading.Thread(target=read), []
    reading.start()
    while reading.is_alive():
        began = time.monotonic()
        glancing.http.get(HEALTH).raise_for_status()
        glances.append(time.monotonic() - began)
        time.sleep(0.02)
    slow = float(np.percentile(glances, 99))
    yield Row(
        5,
        f"A clinic's table of {rows:,} distinct scores, and {HEALTH} beside it",
        times,
        f"Each answered within {max(took):.1f} s; 99 of 100 requests of {HEALTH} within {1000 * slow:.0f} ms; "
        f"otherwise: {'; '.join(wrong[:3]) or 'nothing'}.",
        not wrong and max(took) < ANSWERED and slow < QUICK,
    )


def numbers(bench: Bench) -> Iterator[Row]:
    """Send texts that Python's float() parses as numbers, but spreadsheets do not."""
    visitor = Visitor(bench.app.url)
    cells = ("nan", "inf", "1e309", "0_1", "０.５", "٠.٥", "²", "0x1", "1.5", "--1", "'; --", "=1")
    taken = []
    for number, cell in enumerate(cells):
        file = visitor.upload(f"p_malignant,label\n{cell},benign\n".encode(), f"{number}.csv")
        if "not a number from 0 to 1" not in read_table(visitor, file, f"number{number}"):
            taken.append(cell)
    yield Row(
        4,
        "Invalid scores in a clinic's table: NaN, infinity, 0_1, digits of other scripts, a formula",
        len(cells),
        f"Refused with the row's number. Accepted: {', '.join(taken) or 'none'}.",
        not taken,
    )


def formulas(bench: Bench) -> Iterator[Row]:
    """A zip whose members are called like formulas, read, saved as CSV and read back as programs and people do."""
    names = [f"a{separator}{start}HYPERLINK(1){separator}x.jpg" for separator in ",;|" for start in "=+-@"]
    names += [f"{start}1+1.jpg" for start in "=+-@"] + ['a;=HYPERLINK("http:evil";"x");b.jpg', "a; =1+1;b.jpg"]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for name in names:
            packed.writestr(name, EXAMPLE.read_bytes() if name == names[0] else b"none")
    visitor = Visitor(bench.app.url)
    said = read_many(visitor, visitor.upload(archive.getvalue(), "=1;=2.zip"), "formulas")
    rows = content(said)["output"]["data"][3]
    dependencies = visitor.http.get("/config").json()["dependencies"]
    save = next(each for each in dependencies if each["api_name"] == "make_csv")
    made = visitor.call_by_number(save, f'{json.dumps(rows)}, "skin", 0.3', "save")
    text = content(made)["data"][0]["text"]
    found = []
    for delimiter in ",;\t|":
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
            found += _formulas(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting))
        read = pd.read_csv(io.StringIO(text), sep=delimiter, header=None, names=range(200), dtype=str).fillna("")
        found += _formulas(read.to_numpy().tolist())
    found += _formulas(csv.reader(io.StringIO(text, newline=""), csv.Sniffer().sniff(text, ",;\t|")))
    yield Row(
        8,
        "Pictures called like formulas after every separator, in a zip, as the CSV that the page saves: read by csv, "
        "pandas and a reader that guesses, at commas, semicolons, tabs and bars",
        len(names),
        f"{len(rows)} rows; cells that begin as a formula does: {', '.join(found[:3]) or 'none'}.",
        len(rows) == len(names) and not found,
    )


def _formulas(rows: Iterable[list[str]]) -> list[str]:
    return [cell for row in rows for cell in row if cell.lstrip(' "').startswith(tuple(STARTS))]


CHECKS: Checks = {4: (numbers,), 5: (clinic,), 8: (formulas,)}
