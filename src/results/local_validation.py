"""Reports from a clinic's own scores and outcomes how accurate the model is there, and which threshold to set.

The table has the columns that `python -m src.score` writes, and a column `label` with the outcome of each case. Input
and output are plain text. Nothing in a table is kept.
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

from src.results.parsing import parse_share
from src.results.thresholds import (
    CONFIDENCE,
    INTERVAL_METHOD,
    Estimate,
    Interval,
    Promise,
    operating_point,
    promise,
    proportion_interval,
    threshold_table,
    worst_per_group,
)
from src.tasks import Task

MALIGNANT, BENIGN = "malignant", "benign"
"""The labels that every task accepts in addition to its class codes."""

TARGETS = (0.8, 0.9, 0.95, 0.98, 0.99)
STANDARD = 0.5

MAX_ROWS = 100_000


class TableRefused(ValueError):  # noqa: N818 - a refusal, as ImageRefused
    """A table that cannot be used. The message is one sentence for the visitor. It names the row and quotes no cell."""


@dataclass(frozen=True)
class Cases:
    """The rows of a table: the score (0 to 1), the label and the group of each row that has a score.

    `labels` are class codes, MALIGNANT or BENIGN. `groups` is None if the table has no such column. `unscored` is the
    number of rows without a score.
    """

    task: Task
    scores: list[float]
    labels: list[str]
    groups: list[str] | None
    unscored: int

    def counted(self, target: str = MALIGNANT) -> tuple[list[float], list[bool]]:
        """The score of each case and whether it is malignant.

        `target` may be a malignant class code: then its cases and all benign cases count. Each group counts once, by
        the worst of its images (`worst_per_group`), so that cases are independent.
        """
        codes = {diagnosis.code for diagnosis in self.task.classes if diagnosis.malignant}
        malignant = [label == MALIGNANT or label in codes for label in self.labels]
        rows = [i for i, label in enumerate(self.labels) if target in (MALIGNANT, label) or not malignant[i]]
        cases = [self.scores[i] for i in rows], [malignant[i] for i in rows]
        return cases if self.groups is None else worst_per_group(*cases, [self.groups[i] for i in rows])


def parse_table(text: str, task: Task) -> Cases:
    """Parse a table with the columns `p_malignant` (0 to 1) and `label`, and optionally `group` and `error`.

    `label` is a class code of the task, or "malignant" or "benign". `group` names the patient or lesion. A row whose
    `error` is filled has no score and is left out. A first line such as `sep=;` names the character that separates
    cells. Without that line, it is the one of comma, semicolon and tab that occurs most often in the first line. Unless
    it is the comma, numbers may have a decimal comma. Raises TableRefused.
    """
    rows = _rows(text)
    _, header = next(rows, (1, []))
    header = [name.strip().lower() for name in header]
    position = {}
    for column in ("p_malignant", "label", "group", "error"):
        if header.count(column) > 1:
            raise TableRefused(f"Row 1: there are several columns {column}.")
        if column in header:
            position[column] = header.index(column)
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
            raise TableRefused(f"Row {number}: it has {len(row)} cells, but the header has {len(header)}.")
        cells = {column: row[at].strip() for column, at in position.items()}
        if cells.get("error"):
            unscored += 1
            continue
        if len(scores) == MAX_ROWS:
            raise TableRefused(
                f"Row {number}: the table has more than {MAX_ROWS:,} rows with a score, which is the limit."
            )
        scores.append(_score(number, cells["p_malignant"]))
        labels.append(_label(number, cells["label"].lower(), task))
        # A case without a group is its own group. No group's name has a line break.
        groups.append(cells.get("group") or f"\n{number}")
    if not scores:
        raise TableRefused("The table has no row with a score.")
    return Cases(task, scores, labels, groups if "group" in position else None, unscored)


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows with their numbers, which are those of a spreadsheet."""
    first = text.split("\n", 1)[0]
    delimiter, begin = max(",;\t", key=first.count), 1
    if named := re.fullmatch(r"\s*\"?sep=(.)\"?\s*", first, re.IGNORECASE):  # a line for Excel, which hides it
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
            f"Row {number}: the label is a number, but datasets differ in which number means malignant; write "
            f"{MALIGNANT} or {BENIGN}."
        )
    raise TableRefused(f"Row {number}: the label must be one of {', '.join(known)}.")


def auc(scores: Sequence[float], positive: Sequence[bool]) -> Estimate:
    """The area under the ROC curve with its 95% interval; NaN and (0, 1) if all cases or none are positive.

    The interval is that of DeLong et al. 1988, computed with midranks (Sun and Xu 2014) on the logit scale. If the
    scores separate the two classes perfectly, the variance is 0. Then the interval is the exact interval of n of n
    pairs in order, where n is the number of cases in the smaller class.
    """
    flags, values = np.asarray(positive, dtype=bool), np.asarray(scores, dtype=float)
    positives, negatives = values[flags], values[~flags]
    if not len(positives) or not len(negatives):
        return Estimate(math.nan, 0.0, 1.0)
    # Imported here, because it takes half a second, and the app starts without it.
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([positives, negatives]))
    # For each positive: the share of negatives that score lower. For each negative: the share of positives that score
    # higher. Ties count half.
    below = (ranks[: len(positives)] - rankdata(positives)) / len(negatives)
    above = 1 - (ranks[len(positives) :] - rankdata(negatives)) / len(positives)
    value, pairs = float(below.mean()), min(len(positives), len(negatives))
    interval: Interval
    if value in (0.0, 1.0):
        interval = proportion_interval(round(value * pairs), pairs)
    else:
        variance = below.var(ddof=1) / len(positives) + above.var(ddof=1) / len(negatives) if pairs > 1 else 0.0
        if variance == 0:
            interval = 0.0, 1.0
        else:
            reach = ndtri(0.5 + CONFIDENCE / 2) * math.sqrt(variance) / (value * (1 - value))
            interval = float(expit(logit(value) - reach)), float(expit(logit(value) + reach))
    return Estimate(value, *interval)


@dataclass(frozen=True)
class Target:
    """The sentences about a target sensitivity. `threshold` is None if there are too few cancers to promise it."""

    threshold: float | None
    sentences: list[str]


@dataclass(frozen=True)
class Report:
    """The report on a table as texts. `points` has a row of cells for each operating point; `head` is its header.

    `targets` maps each target sensitivity to its sentences.
    """

    sentences: list[str]
    head: list[str]
    points: list[list[str]]
    targets: dict[float, Target]


def validate(cases: Cases, default: float, targets: Sequence[float] = TARGETS) -> Report:
    """The report on `cases` for a model with the default threshold `default`, and for each sensitivity of `targets`."""
    scores, positive = cases.counted()
    table, malignant = threshold_table(scores, positive), sum(positive)
    sentences = [f"The table has {len(positive):,} cases: {malignant:,} malignant, {len(positive) - malignant:,} not."]
    if cases.groups is not None:
        sentences.append(f"Each group counts once, by its worst image; there are {len(cases.labels):,} images.")
    if cases.unscored:
        sentences.append(f"Rows without a score were left out: {cases.unscored:,}.")
    area = auc(scores, positive)
    if not math.isnan(area.value):
        sentences.append(f"The AUC is {area.value:.3f} ({area.low:.3f} to {area.high:.3f}).")
    sentences.append(
        f"The 95% interval is in brackets: DeLong's interval for the AUC, {INTERVAL_METHOD} intervals for the rest."
    )

    promises = {target: promise(table, target) for target in targets}
    named = {"Vigil's default": default, "standard": STANDARD}
    named |= {
        f"{100 * target:g}% sensitivity": promised.threshold
        for target, promised in promises.items()
        if promised.threshold is not None
    }
    alone = {code: threshold_table(*cases.counted(code)) for code in cases.task.reported_alone if code in cases.labels}
    points = []
    for name, threshold in named.items():
        point = operating_point(table, threshold)
        class_points = [operating_point(counts, threshold) for counts in alone.values()]
        points.append(
            [
                f"{threshold:g}, {name}",
                _share(point.sensitivity, point.sensitivity_interval),
                *(_share(one.sensitivity, one.sensitivity_interval) for one in class_points),
                _share(point.specificity, point.specificity_interval),
                *(f"{count:,}" for count in (point.tp, point.fn, point.fp)),
            ]
        )
    head = ["Threshold", "Sensitivity", *(f"Sensitivity for {code}" for code in alone), "Specificity"]
    target_reports = {
        target: Target(promised.threshold, _sentences(table, promised, default))
        for target, promised in promises.items()
    }
    return Report(sentences, [*head, "Found", "Missed", "False alarms"], points, target_reports)


def _share(value: float, interval: Interval) -> str:
    low, high = interval
    return "–" if math.isnan(value) else f"{value:.1%} ({100 * low:.1f} to {100 * high:.1f})"


def _sentences(table: Mapping[str, Sequence[Any]], promised: Promise, default: float) -> list[str]:
    positives, needed, threshold = promised.positives, promised.needed, promised.threshold
    target = f"{100 * promised.target:g}%"
    if threshold is None:
        return [
            f"There are too few malignant cases to promise a sensitivity of {target}. Even if all {positives:,} were "
            f"found, this would prove a sensitivity of no more than {promised.provable:.1%}.",
            f"At least {needed:,} cases without a miss are needed, which is {needed - positives:,} more.",
        ]
    point, default_point = operating_point(table, threshold), operating_point(table, default)
    sentences = [
        f"Set the threshold to {threshold:g}. Then we can be {CONFIDENCE:.0%} confident that at least {target} of "
        f"malignant cases like these are referred. Of the {positives:,} in this table, {promised.found:,} are referred."
    ]
    if threshold == default:
        sentences.append("This is Vigil's default.")
    else:
        direction, more = ("lower", "more") if threshold < default else ("higher", "fewer")
        sentences.append(
            f"This is {abs(threshold - default):.3g} {direction} than Vigil's default of {default:g}. On this table, "
            f"it finds {abs(point.tp - default_point.tp):,} {more} malignant cases and raises "
            f"{abs(point.fp - default_point.fp):,} {more} false alarms than the default."
        )
    if not point.tn + point.fn:
        sentences.append("It refers every case in this table, so at this sensitivity the model is of no use.")
    return sentences


def read_text(file: Path) -> str:
    """The text of a table: UTF-16 if it has its byte order mark, as Excel's "Unicode text" does, else UTF-8.

    Bytes that are not UTF-8 are replaced, because they may be in a column that is not used. Raises TableRefused for a
    file that cannot be opened, is empty or is not text.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise TableRefused(f"The table cannot be opened: {error.strerror}.") from error
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if not content:
        raise TableRefused("The file is empty.")
    if b"\0" in content and not utf16:
        raise TableRefused("This file is not a table of text; save the table as CSV.")
    return content.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")


def as_text(shown: Report) -> str:
    """The report as text for a terminal."""
    widths = [max(map(len, column)) for column in zip(shown.head, *shown.points, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in (shown.head, *shown.points)
    ]
    targets = [sentence for target in shown.targets.values() for sentence in target.sentences]
    return "\n".join([*shown.sentences, "", *map(str.rstrip, lines), "", *targets])
