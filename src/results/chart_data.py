"""The curves of an evaluation as points, axes and names, for the page's SVG and the training report's PNG.

Knows nothing of pixels, colours or markup.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from src.models.evaluation import CalibrationBin, Table

Point = tuple[float, float]


@dataclass(frozen=True)
class Axes:
    """The labels of the two axes. `log_x`: the horizontal axis is logarithmic."""

    x: str
    y: str
    log_x: bool = False


@dataclass(frozen=True)
class Line:
    """One curve: its points from left to right, and the interval of each point's y if the curve has intervals."""

    name: str
    points: tuple[Point, ...]
    intervals: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Chart:
    """Lines on the same axes. `diagonal`: the chart also has the line from (0, 0) to (1, 1)."""

    title: str
    axes: Axes
    lines: tuple[Line, ...]
    diagonal: bool = False


def roc_corners(table: Table) -> list[tuple[int, int]]:
    """The corners of the ROC curve as (false positives, true positives), from "none referred" to "all referred"."""
    points = [(0, 0), *zip(reversed(table["fp"]), reversed(table["tp"]), strict=True)]
    turns = (
        here
        for before, here, after in zip(points, points[1:], points[2:], strict=False)
        if not (before[0] == here[0] == after[0] or before[1] == here[1] == after[1])
    )
    return [points[0], *turns, points[-1]]


def roc(tables: Iterable[tuple[str, Table]]) -> Chart:
    """The ROC curve of each table, by its name; both axes are shares, 0 to 1."""
    lines = []
    for name, table in tables:
        positives, negatives = (max(1, table[hit][0] + table[miss][0]) for hit, miss in (("tp", "fn"), ("fp", "tn")))
        points = tuple((fp / negatives, tp / positives) for fp, tp in roc_corners(table))
        lines.append(Line(name, points))
    axes = Axes("false positive rate (1 − specificity)", "sensitivity")
    return Chart("ROC curve", axes, tuple(lines), diagonal=True)


def reliability(bins: Sequence[CalibrationBin], name: str) -> Chart:
    """The share found malignant, with its 95% interval, against the mean displayed p(malignant); both 0 to 1."""
    line = Line(name, tuple((one.mean_score, one.share_malignant) for one in bins), tuple(one.interval for one in bins))
    return Chart("Reliability diagram", Axes("displayed p(malignant)", "share found malignant"), (line,), diagonal=True)


_LEARNING: Final = (
    ("Loss", (("train_loss", "training, on augmented images"), ("loss", "validation, log loss"))),
    (
        "Validation",
        (("auc_malignant", "AUC, malignant"), ("auc_macro", "AUC, macro"), ("accuracy", "accuracy")),
    ),
)


def learning_curves(history: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Loss and metrics by epoch, or by C if the training searched for it; empty if the history has none.

    `history` comes from config.json. Values other than finite numbers are left out.
    """
    x = "epoch" if history and "epoch" in history[0] else "C"
    charts = []
    for title, names in _LEARNING:
        lines: list[Line] = []
        for key, name in names:
            points = tuple((row[x], row[key]) for row in history if _number(row.get(x)) and _number(row.get(key)))
            if points and all(
                points != line.points for line in lines
            ):  # with two classes, the macro AUC equals the AUC
                lines.append(Line(name, points))
        if lines:
            charts.append(Chart(title, Axes(x, title, log_x=x == "C"), tuple(lines)))
    return charts


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
