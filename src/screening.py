"""Thresholds: the decision, and what a threshold costs as counted on a test split.

Pure: counts and scores in, statements out. Knows nothing of networks, files or the page. "Positive" is malignant
throughout; the decision is `refer` where p(malignant) >= threshold.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scipy.stats import binomtest

Decision = Literal["refer", "no referral"]

Interval = tuple[float, float]
"""Lower and upper 95% bound, both in 0..1."""


def decide(p_malignant: float, threshold: float) -> Decision:
    """`refer` where `p_malignant` reaches `threshold`, both in 0..1."""
    return "refer" if p_malignant >= threshold else "no referral"


INTERVAL_METHOD = "Clopper-Pearson"


def proportion_interval(successes: int, n: int) -> Interval:
    """The exact 95% interval of a proportion (Clopper & Pearson 1934); (0, 1) where nothing was counted.

    Exact because it never promises too much: its coverage is at least 95%, and n of n is not taken for certainty.
    """
    if n == 0:
        return 0.0, 1.0
    interval = binomtest(successes, n).proportion_ci(0.95, method="exact")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class OperatingPoint:
    """The four counts at one threshold, and the proportions they make."""

    threshold: float
    tp: int
    fp: int
    tn: int
    fn: int

    @property
    def sensitivity(self) -> float:
        """TP / (TP + FN): the share of cancers referred. NaN without a cancer."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else float("nan")

    @property
    def specificity(self) -> float:
        """TN / (TN + FP): the share of the others not referred. NaN without one."""
        return self.tn / (self.tn + self.fp) if self.tn + self.fp else float("nan")

    @property
    def sensitivity_interval(self) -> Interval:
        """Exact 95% interval."""
        return proportion_interval(self.tp, self.tp + self.fn)

    @property
    def specificity_interval(self) -> Interval:
        """Exact 95% interval."""
        return proportion_interval(self.tn, self.tn + self.fp)


def threshold_table(scores: Sequence[float], positive: Sequence[bool]) -> dict[str, list[Any]]:
    """Every operating point that `scores` can make, as columns: threshold, tp, fp, tn, fn.

    `scores` in 0..1 and `positive` have one entry a case. The rows are the distinct scores, ascending; a row counts
    score >= threshold as referred, so any threshold between two rows has the counts of the upper one. Exact, and no
    larger than the split.
    """
    cases = sorted(zip(scores, positive, strict=True))
    positives = sum(positive)
    table: dict[str, list[Any]] = {"threshold": [], "tp": [], "fp": [], "tn": [], "fn": []}
    below_positive = below_negative = 0
    for i, (score, is_positive) in enumerate(cases):
        if i == 0 or score != cases[i - 1][0]:
            table["threshold"].append(score)
            table["tp"].append(positives - below_positive)
            table["fp"].append(len(cases) - positives - below_negative)
            table["tn"].append(below_negative)
            table["fn"].append(below_positive)
        below_positive += is_positive
        below_negative += not is_positive
    return table


def operating_point(table: Mapping[str, Sequence[Any]], threshold: float) -> OperatingPoint:
    """The counts at any threshold in 0..1, from a `threshold_table`. Raises ValueError for an empty table."""
    if not table["threshold"]:
        raise ValueError("The threshold table is empty.")
    row = bisect_left(table["threshold"], threshold)
    if row < len(table["threshold"]):
        return OperatingPoint(threshold, *(int(table[column][row]) for column in ("tp", "fp", "tn", "fn")))
    # Above the highest score nothing is referred.
    positives, negatives = table["tp"][0] + table["fn"][0], table["fp"][0] + table["tn"][0]
    return OperatingPoint(threshold, 0, 0, negatives, positives)


def highest_threshold(scores: Sequence[float], share: float) -> float:
    """The highest threshold that still refers at least `share` (0..1) of the cases with these `scores`.

    Raises ValueError without a score.
    """
    if not scores:
        raise ValueError("No score to choose a threshold by.")
    ordered = sorted(scores, reverse=True)
    # Rounded first: 0.55 of 100 is 55.00000000000001 in floating point, and would ask for a 56th case.
    needed = math.ceil(round(share * len(ordered), 9))
    return ordered[max(1, needed) - 1]
