"""Thresholds: the decision, the costs of a threshold on counted cases, and the sensitivity that it can promise.

Knows nothing of networks, files or the page. "Positive" always means malignant. The decision is `refer` where
p(malignant) >= threshold.
"""

import math
from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scipy.special import betaincinv, nbdtrik

from src.models.evaluation import Evaluation

Decision = Literal["refer", "no referral"]

Interval = tuple[float, float]
"""The lower and the upper bound of an interval; 95% unless another confidence is named."""

CONFIDENCE = 0.95

PEOPLE = 1000

PREVALENCE = 10
"""How many of PEOPLE are ill, unless the visitor chooses another number.

It is typical of screening: breast screening programmes find 5 to 10 cancers in 1,000 women. In a test split, hundreds
of 1,000 are ill, so its PPV is far too high for screening.
"""


def decide(p_malignant: float, threshold: float) -> Decision:
    """`refer` if `p_malignant` reaches `threshold`, else `no referral`; both are 0 to 1."""
    return "refer" if p_malignant >= threshold else "no referral"


INTERVAL_METHOD = "Clopper-Pearson"


def proportion_interval(successes: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The exact interval of a proportion (Clopper & Pearson 1934), 0 to 1; (0, 1) if `n` is 0.

    The exact interval is used because its coverage is at least `confidence`, also when all of `n` succeed. scipy's
    binomtest gives the same interval but searches for the beta quantiles, which takes a thousand times longer.
    `successes` may be a fraction if each case is a mean of several.
    """
    tail = (1 - confidence) / 2
    low = betaincinv(successes, n - successes + 1, tail) if successes else 0.0
    high = betaincinv(successes + 1, n - successes, 1 - tail) if successes < n else 1.0
    return float(low), float(high)


def lower_bound(successes: int, n: int, confidence: float = CONFIDENCE) -> float:
    """The exact one-sided lower bound of a proportion, 0 to 1: the proportion is at least this with `confidence`."""
    return proportion_interval(successes, n, 2 * confidence - 1)[0]


def positives_needed(target: float, misses: int = 0, confidence: float = CONFIDENCE) -> int:
    """The number of cancers that proves a sensitivity of `target` (between 0 and 1) if `misses` of them are missed.

    It is the smallest number for which `lower_bound` reaches `target`. Without a miss, 59 cancers prove 0.95 and 29
    prove 0.90 with a confidence of 0.95.
    """
    return math.ceil(nbdtrik(confidence, misses + 1, 1 - target)) + misses + 1


@dataclass(frozen=True)
class OperatingPoint:
    """The four counts at one threshold, and the proportions that follow from them."""

    threshold: float
    tp: int
    fp: int
    tn: int
    fn: int

    @property
    def sensitivity(self) -> float:
        """TP / (TP + FN): the share of the malignant cases that are referred. NaN without a malignant case."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else float("nan")

    @property
    def specificity(self) -> float:
        """TN / (TN + FP): the share of the other cases that are not referred. NaN without another case."""
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
    """All operating points of `scores`, as columns: threshold, tp, fp, tn, fn.

    `scores` (0 to 1) and `positive` have one entry per case. The rows are the distinct scores, ascending. A row counts
    a case as referred if its score >= threshold. A threshold between two rows has the counts of the upper row.
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


def worst_per_group(
    scores: Sequence[float], positive: Sequence[bool], groups: Sequence[Hashable]
) -> tuple[list[float], list[bool]]:
    """Scores and labels with one case per group (lesion, patient) and label: the worst image of the group.

    A group's positive images count by their lowest score, so the group is found only if all of them are referred. Its
    negative images count by their highest score, so it is not referred only if none of them is. Images of one group
    resemble each other and are not independent evidence, but groups are.
    """
    worst: dict[tuple[Hashable, bool], float] = {}
    for score, is_positive, group in zip(scores, positive, groups, strict=True):
        choose = min if is_positive else max
        worst[group, is_positive] = choose(score, worst.get((group, is_positive), score))
    return list(worst.values()), [is_positive for _, is_positive in worst]


def operating_point(table: Mapping[str, Sequence[Any]], threshold: float) -> OperatingPoint:
    """The counts at any threshold (0 to 1), from a `threshold_table`. Raises ValueError for an empty table."""
    if not table["threshold"]:
        raise ValueError("The threshold table is empty.")
    row = bisect_left(table["threshold"], threshold)
    if row < len(table["threshold"]):
        return OperatingPoint(threshold, *(int(table[column][row]) for column in ("tp", "fp", "tn", "fn")))
    # Above the highest score, no case is referred.
    positives, negatives = table["tp"][0] + table["fn"][0], table["fp"][0] + table["tn"][0]
    return OperatingPoint(threshold, 0, 0, negatives, positives)


def highest_threshold(scores: Sequence[float], share: float) -> float:
    """The highest threshold that refers at least `share` (0 to 1) of the cases with these `scores`.

    Raises ValueError if there are no scores.
    """
    if not scores:
        raise ValueError("There are no scores to choose a threshold by.")
    ordered = sorted(scores, reverse=True)
    # It is rounded first, because 0.55 of 100 is 55.00000000000001 in floating point and would need a 56th case.
    needed = math.ceil(round(share * len(ordered), 9))
    return ordered[max(1, needed) - 1]


@dataclass(frozen=True)
class Promise:
    """A promised sensitivity: with `confidence`, the true sensitivity at `threshold` is at least `target` (0 to 1).

    `threshold` is the highest such threshold; it is None if there are too few `positives` to promise it. `found` of the
    `positives` are referred at it.
    """

    target: float
    threshold: float | None
    positives: int
    found: int
    confidence: float = CONFIDENCE

    @property
    def needed(self) -> int:
        """The number of positives that would be enough if none was missed."""
        return positives_needed(self.target, confidence=self.confidence)

    @property
    def provable(self) -> float:
        """The highest sensitivity that this number of positives could prove, if all were found; 0 to 1."""
        return lower_bound(self.positives, self.positives, self.confidence)


def promise(table: Mapping[str, Sequence[Any]], target: float, confidence: float = CONFIDENCE) -> Promise:
    """The highest threshold for which `table` proves a sensitivity of `target` with `confidence` (both 0 to 1).

    `table` counts independent cases (`worst_per_group`) on which nothing else was chosen. A threshold is accepted if
    the `lower_bound` of its sensitivity reaches `target`. The same cases may choose the threshold and prove the
    sensitivity. The reason is that the number of allowed misses depends only on the number of cases: the threshold is
    an order statistic, and the bound is its tolerance bound (Wilks 1941). The threshold is rounded down to three
    decimals. A lower threshold never refers fewer cases.
    """
    positives = table["tp"][0] + table["fn"][0] if table["threshold"] else 0
    rows = range(len(table["threshold"]))
    # A lower threshold finds more positives, which raises the bound. So the rows are in order and can be bisected.
    row = bisect_left(rows, True, key=lambda row: lower_bound(table["tp"][row], positives, confidence) < target) - 1
    if row < 0:
        return Promise(target, None, positives, 0, confidence)
    rounded = math.floor(table["threshold"][row] * 1000) / 1000
    return Promise(target, rounded, positives, operating_point(table, rounded).tp, confidence)


def validation_promise(evaluation: Evaluation, target: float) -> Promise | None:
    """The promise of a sensitivity of `target` (0 to 1) by a model's validation split.

    None if evaluation.json does not count validation by group.
    """
    table = evaluation.validation_by_group
    return None if table is None else promise(table, target)


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95% interval; `value` is NaN if there is nothing to count."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Outcome:
    """The effects of a threshold on a number of people: expected numbers, and PPV and NPV as shares (0 to 1)."""

    found: Estimate
    missed: Estimate
    false_alarms: Estimate
    ppv: Estimate
    npv: Estimate


def outcome(point: OperatingPoint, prevalence: float, people: int = 1000) -> Outcome:
    """The effects of an operating point on `people`. The share `prevalence` (between 0 and 1) has the disease.

    It assumes that sensitivity and specificity do not change. The intervals of found and missed follow from that of
    sensitivity, and the interval of false alarms from that of specificity. PPV and NPV rise with both shares. Their
    lower bound combines the lower bounds of both shares, and their upper bound the upper bounds. Each share then has a
    97.5% interval, so both intervals hold together with at least 95% confidence (Bonferroni). Raises ValueError for a
    prevalence outside its range.
    """
    if not 0 < prevalence < 1:
        raise ValueError("The prevalence must lie between 0 and 1.")
    ill, well = people * prevalence, people * (1 - prevalence)
    (se_low, se_high), (sp_low, sp_high) = point.sensitivity_interval, point.specificity_interval

    def ppv(sensitivity: float, specificity: float) -> float:
        return _share(ill * sensitivity, well * (1 - specificity))

    def npv(sensitivity: float, specificity: float) -> float:
        return _share(well * specificity, ill * (1 - sensitivity))

    (se_lowest, se_highest), (sp_lowest, sp_highest) = (
        proportion_interval(point.tp, point.tp + point.fn, 1 - (1 - CONFIDENCE) / 2),
        proportion_interval(point.tn, point.tn + point.fp, 1 - (1 - CONFIDENCE) / 2),
    )
    return Outcome(
        found=Estimate(ill * point.sensitivity, ill * se_low, ill * se_high),
        missed=Estimate(ill * (1 - point.sensitivity), ill * (1 - se_high), ill * (1 - se_low)),
        false_alarms=Estimate(well * (1 - point.specificity), well * (1 - sp_high), well * (1 - sp_low)),
        ppv=Estimate(ppv(point.sensitivity, point.specificity), ppv(se_lowest, sp_lowest), ppv(se_highest, sp_highest)),
        npv=Estimate(npv(point.sensitivity, point.specificity), npv(se_lowest, sp_lowest), npv(se_highest, sp_highest)),
    )


def _share(part: float, rest: float) -> float:
    return part / (part + rest) if part + rest else math.nan
