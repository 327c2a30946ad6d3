"""A clinic's own scores with known outcomes -> how well the model does there, and where to set its threshold.

The table is what `python -m src.score` writes, with a column `label` for the outcome of each case. Plain text in, plain
text out. Nothing of a table is kept.
"""

import codecs
import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit, ndtri
from scipy.stats import rankdata

from src.results.parsing import parse_share
from src.results.thresholds import (
    CONFIDENCE,
    INTERVAL_METHOD,
    Estimate,
    Interval,
    Promise,
    one_a_group,
    operating_point,
    promise,
    proportion_interval,
    threshold_table,
)
from src.tasks import Task

MALIGNANT, BENIGN = "malignant", "benign"
"""Labels that every task takes, besides its own class codes."""

TARGETS = (0.8, 0.9, 0.95, 0.98, 0.99)
STANDARD = 0.5

MAX_ROWS = 100_000


class TableRefused(ValueError):  # noqa: N818 - a refusal, as ImageRefused
    """A table that cannot be used; the message is one sentence for the person, names the row and repeats no cell."""


@dataclass(frozen=True)
class Cases:
    """What a table says: a score in 0..1, a label and a group for each row that has a score, and how many have none.

    `labels` are class codes, MALIGNANT or BENIGN. `groups` is None where the table has no such column.
    """

    task: Task
    scores: list[float]
    labels: list[str]
    groups: list[str] | None
    unscored: int

    def counted(self, who: str = MALIGNANT) -> tuple[list[float], list[bool]]:
        """Scores and whether malignant, of everything, or of one class code against all that is benign.

        Each group counts once, by the worst of its pictures (screening.one_a_group), so that cases are independent.
        """
        codes = {code for code, malignant in zip(self.task.codes, self.task.malignant, strict=True) if malignant}
        ill = [label == MALIGNANT or label in codes for label in self.labels]
        rows = [i for i, label in enumerate(self.labels) if who == MALIGNANT or label == who or not ill[i]]
        cases = [self.scores[i] for i in rows], [ill[i] for i in rows]
        return cases if self.groups is None else one_a_group(*cases, [self.groups[i] for i in rows])


def parse_table(text: str, task: Task) -> Cases:
    """Parse a table: columns `p_malignant` (0 to 1) and `label`, and where they are there `group` and `error`.

    `label` is a class code of the task, or "malignant" or "benign"; `group` names the patient or lesion. Rows whose
    `error` is filled have no score and are left out. A first line `sep=;` names what separates cells; without it,
    cells are separated by commas, semicolons or tabs, whichever the first line has most of. Without commas between
    cells, a decimal comma is one. Raises TableRefused.
    """
    rows = _rows(text)
    _, header = next(rows, (1, []))
    header = [name.strip().lower() for name in header]
    place = {}
    for column in ("p_malignant", "label", "group", "error"):
        if header.count(column) > 1:
            raise TableRefused(f"Row 1: there are two columns {column}.")
        if column in header:
            place[column] = header.index(column)
        elif column in ("p_malignant", "label"):
            raise TableRefused(f"Row 1: there is no column {column}; the table needs p_malignant and label.")
    scores: list[float] = []
    labels: list[str] = []
    groups: list[str] = []
    unscored = 0
    for number, row in rows:
        if not any(row):
            continue
        if len(row) != len(header):
            raise TableRefused(f"Row {number}: it has {len(row)} cells, the header has {len(header)}.")
        cells = {column: row[at].strip() for column, at in place.items()}
        if cells.get("error"):
            unscored += 1
            continue
        if len(scores) == MAX_ROWS:
            raise TableRefused(f"Row {number}: more than {MAX_ROWS:,} rows are not read.")
        scores.append(_score(number, cells["p_malignant"]))
        labels.append(_label(number, cells["label"].lower(), task))
        # Whoever has no group is a group of their own; a line break stands in no name.
        groups.append(cells.get("group") or f"\n{number}")
    if not scores:
        raise TableRefused("The table has no row with a score.")
    return Cases(task, scores, labels, groups if "group" in place else None, unscored)


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows, numbered as a spreadsheet does."""
    first = text.split("\n", 1)[0]
    delimiter, begin = max(",;\t", key=first.count), 1
    if named := re.fullmatch(r"\s*\"?sep=(.)\"?\s*", first, re.IGNORECASE):  # for Excel, which does not show the line
        delimiter, begin, text = named[1], 2, text.partition("\n")[2]
    number = begin - 1
    try:
        for number, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), start=begin):
            yield number, row if delimiter == "," else [cell.replace(",", ".") for cell in row]
    except csv.Error as error:
        raise TableRefused(f"Row {number + 1}: it cannot be read as a row of a table.") from error


def _score(number: int, cell: str) -> float:
    score = parse_share(cell)
    if score is None:
        raise TableRefused(f"Row {number}: p_malignant is not a number from 0 to 1.")
    return score


def _label(number: int, cell: str, task: Task) -> str:
    known = tuple(dict.fromkeys((*task.codes, MALIGNANT, BENIGN)))
    if cell in known:
        return cell
    if cell.isdigit():
        raise TableRefused(
            f"Row {number}: the label is a number, and sets differ in which is malignant (in BreastMNIST's file it is "
            f"0); write {MALIGNANT} or {BENIGN}."
        )
    raise TableRefused(f"Row {number}: the label is none of {', '.join(known)}.")


def auc(scores: Sequence[float], positive: Sequence[bool]) -> Estimate:
    """Area under the ROC curve with its 95% interval; NaN with (0, 1) where one side is empty.

    DeLong et al. 1988 by midranks (Sun and Xu 2014), on the logit scale. A perfect order has no spread to estimate
    from: there the exact interval of so many disjoint pairs of one of each side, all in order, holds.
    """
    flags, values = np.asarray(positive, dtype=bool), np.asarray(scores, dtype=float)
    ill, well = values[flags], values[~flags]
    if not len(ill) or not len(well):
        return Estimate(math.nan, 0.0, 1.0)
    ranks = rankdata(np.concatenate([ill, well]))
    # For each ill case the share of the well it outranks, ties by half; for each well case the share that outranks it.
    of_ill = (ranks[: len(ill)] - rankdata(ill)) / len(well)
    of_well = 1 - (ranks[len(ill) :] - rankdata(well)) / len(ill)
    value, pairs = float(of_ill.mean()), min(len(ill), len(well))
    interval: Interval
    if value in (0.0, 1.0):
        interval = proportion_interval(round(value * pairs), pairs)
    else:
        variance = of_ill.var(ddof=1) / len(ill) + of_well.var(ddof=1) / len(well) if pairs > 1 else 0.0
        if variance == 0:
            interval = 0.0, 1.0
        else:
            reach = ndtri(0.5 + CONFIDENCE / 2) * math.sqrt(variance) / (value * (1 - value))
            interval = float(expit(logit(value) - reach)), float(expit(logit(value) + reach))
    return Estimate(value, *interval)


@dataclass(frozen=True)
class Target:
    """What keeps a target sensitivity, worded; `threshold` is None where there are too few cancers to promise it."""

    threshold: float | None
    sentences: list[str]


@dataclass(frozen=True)
class Report:
    """What a table says of a model, worded: `points` are the operating points, a row of cells each under `head`."""

    sentences: list[str]
    head: list[str]
    points: list[list[str]]
    targets: dict[float, Target]


def validate(cases: Cases, default: float, targets: Sequence[float] = TARGETS) -> Report:
    """What `cases` say of a model whose default threshold is `default`, and what keeps each of the `targets` there."""
    scores, positive = cases.counted()
    table, ill = threshold_table(scores, positive), sum(positive)
    sentences = [f"{len(positive):,} cases: {ill:,} malignant, {len(positive) - ill:,} not."]
    if cases.groups is not None:
        sentences.append(f"Each group counts once, by the worst of its pictures, of {len(cases.labels):,}.")
    if cases.unscored:
        sentences.append(f"{cases.unscored:,} without a score were left out.")
    area = auc(scores, positive)
    if not math.isnan(area.value):
        sentences.append(f"AUC {area.value:.3f} ({area.low:.3f} to {area.high:.3f}).")
    sentences.append(f"In brackets 95% intervals: DeLong's for the AUC, {INTERVAL_METHOD} for the rest.")

    promises = {target: promise(table, target) for target in targets}
    named = {"Vigil's default": default, "standard": STANDARD}
    named |= {
        f"{100 * target:g}% sensitivity": kept.threshold
        for target, kept in promises.items()
        if kept.threshold is not None
    }
    alone = {code: threshold_table(*cases.counted(code)) for code in cases.task.reported_alone if code in cases.labels}
    points = []
    for name, threshold in named.items():
        point = operating_point(table, threshold)
        own = [operating_point(counts, threshold) for counts in alone.values()]
        points.append(
            [
                f"{threshold:g}, {name}",
                _share(point.sensitivity, point.sensitivity_interval),
                *(_share(one.sensitivity, one.sensitivity_interval) for one in own),
                _share(point.specificity, point.specificity_interval),
                *(f"{count:,}" for count in (point.tp, point.fn, point.fp)),
            ]
        )
    head = ["Threshold", "Sensitivity", *(f"Sensitivity for {code}" for code in alone), "Specificity"]
    worded = {target: Target(kept.threshold, _worded(table, kept, default)) for target, kept in promises.items()}
    return Report(sentences, [*head, "Found", "Missed", "False alarms"], points, worded)


def _share(value: float, interval: Interval) -> str:
    low, high = interval
    return "–" if math.isnan(value) else f"{value:.1%} ({100 * low:.1f} to {100 * high:.1f})"


def _worded(table: Mapping[str, Sequence[Any]], kept: Promise, default: float) -> list[str]:
    if kept.threshold is None:
        return [
            f"Too few malignant cases to promise a sensitivity of {100 * kept.target:g}%: {kept.positives:,}, all of "
            f"them found, prove no more than {kept.provable:.1%}.",
            f"It takes at least {kept.needed:,} without a miss: {kept.needed - kept.positives:,} more.",
        ]
    here, there = operating_point(table, kept.threshold), operating_point(table, default)
    said = [
        f"Set the threshold at {kept.threshold:g}: with {CONFIDENCE:.0%} confidence, at least {100 * kept.target:g}% "
        f"of malignant cases like these are referred; of the {kept.positives:,} here, {kept.found:,} are."
    ]
    if kept.threshold == default:
        said.append("That is Vigil's default.")
    else:
        way, many = ("lower", "more") if kept.threshold < default else ("higher", "fewer")
        said.append(
            f"That is {abs(kept.threshold - default):.3g} {way} than Vigil's default of {default:g}: of the malignant "
            f"cases here it finds {abs(here.tp - there.tp):,} {many}, and it raises {abs(here.fp - there.fp):,} {many} "
            "false alarms."
        )
    if not here.tn + here.fn:
        said.append("It refers everyone here: at this sensitivity the model decides nothing.")
    return said


def read_text(file: Path) -> str:
    """A table's text: UTF-16 where it begins so, as Excel's "Unicode text" does, else UTF-8. Only the columns that are
    read matter, so a byte that is not UTF-8 in another does not.

    Raises TableRefused for a file that cannot be opened.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise TableRefused(f"The table cannot be opened: {error.strerror}.") from error
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")


def as_text(shown: Report) -> str:
    """A report for a terminal."""
    widths = [max(map(len, column)) for column in zip(shown.head, *shown.points, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in (shown.head, *shown.points)
    ]
    targets = [sentence for target in shown.targets.values() for sentence in target.sentences]
    return "\n".join([*shown.sentences, "", *map(str.rstrip, lines), "", *targets])
