"""Thresholds: the decision, what a threshold costs as counted on a test split, and what it can promise.

Pure: counts and scores in, statements out. Knows nothing of networks, files or the page. "Positive" is malignant
throughout; the decision is `refer` where p(malignant) >= threshold.
"""

import math
from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scipy.special import betaincinv
from scipy.stats import nbinom

from src.models.evaluation import Evaluation

Decision = Literal["refer", "no referral"]

Interval = tuple[float, float]
"""Lower and upper bound; 95% unless said otherwise."""

CONFIDENCE = 0.95

PEOPLE = 1000

PREVALENCE = 10
"""Of PEOPLE, how many are ill, until the visitor says. Of the order that screening meets (breast screening programmes
find 5 to 10 cancers in 1,000 women), where a test split has hundreds: PPV looks its best there and is of no use."""


def decide(p_malignant: float, threshold: float) -> Decision:
    """`refer` where `p_malignant` reaches `threshold`, both in 0..1."""
    return "refer" if p_malignant >= threshold else "no referral"


INTERVAL_METHOD = "Clopper-Pearson"


def proportion_interval(successes: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The exact interval of a proportion (Clopper & Pearson 1934), in 0..1; (0, 1) where nothing was counted.

    Exact because it never promises too much: its coverage is at least `confidence`, and n of n is not taken for
    certainty. As scipy's binomtest has it, by the beta quantiles that it searches for: a thousand times faster. Of
    cases that are means of several, `successes` may be a fraction.
    """
    tail = (1 - confidence) / 2
    low = betaincinv(successes, n - successes + 1, tail) if successes else 0.0
    high = betaincinv(successes + 1, n - successes, 1 - tail) if successes < n else 1.0
    return float(low), float(high)


def lower_bound(successes: int, n: int, confidence: float = CONFIDENCE) -> float:
    """The exact one-sided bound: with this confidence the proportion is at least that; 0..1."""
    return proportion_interval(successes, n, 2 * confidence - 1)[0]


def positives_needed(target: float, misses: int = 0, confidence: float = CONFIDENCE) -> int:
    """How many cancers, of which `misses` are missed, it takes to promise a sensitivity of `target` (0..1, exclusive).

    59 without a miss for 0.95, 29 for 0.90. From so many on, `lower_bound` reaches the target: were the true
    sensitivity below it, one miss more would have come up by then with `confidence`.
    """
    return int(nbinom.ppf(confidence, misses + 1, 1 - target)) + misses + 1


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


def one_a_group(
    scores: Sequence[float], positive: Sequence[bool], groups: Sequence[Hashable]
) -> tuple[list[float], list[bool]]:
    """Scores and labels with one case a group (lesion, patient) and label: the worst of its pictures.

    Of its positives the lowest score, so that it counts as found only where every one is referred; of its negatives the
    highest, so that it counts as cleared only where none is. Pictures of a group resemble each other and are no
    independent evidence; groups are.
    """
    worst: dict[tuple[Hashable, bool], float] = {}
    for score, is_positive, group in zip(scores, positive, groups, strict=True):
        choose = min if is_positive else max
        worst[group, is_positive] = choose(score, worst.get((group, is_positive), score))
    return list(worst.values()), [is_positive for _, is_positive in worst]


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


@dataclass(frozen=True)
class Promise:
    """Whether a sensitivity of `target` can be promised, and from which threshold down.

    `threshold` is None where there are too few `positives` for it; `found` of them are found there.
    """

    target: float
    threshold: float | None
    positives: int
    found: int
    confidence: float = CONFIDENCE

    @property
    def needed(self) -> int:
        """How many positives it takes where none is missed."""
        return positives_needed(self.target, confidence=self.confidence)

    @property
    def provable(self) -> float:
        """The most that this number of positives could prove, by all being found; 0..1."""
        return lower_bound(self.positives, self.positives, self.confidence)


def promise(table: Mapping[str, Sequence[Any]], target: float, confidence: float = CONFIDENCE) -> Promise:
    """The highest threshold at which the true sensitivity is at least `target` with `confidence`, both in 0..1.

    `table` counts independent cases (`one_a_group`) that chose nothing else. The lower bound at the threshold reaches
    the target; that the threshold was chosen by the same cases costs nothing, because how many may be missed depends on
    their number alone: the threshold is an order statistic, and this its tolerance bound (Wilks 1941). Rounded down to
    three decimals, which refers no fewer.
    """
    positives = table["tp"][0] + table["fn"][0] if table["threshold"] else 0
    rows = range(len(table["threshold"]))
    # The more are found, the higher the bound, and the lower the threshold, the more are found.
    kept = bisect_left(rows, True, key=lambda row: lower_bound(table["tp"][row], positives, confidence) < target) - 1
    if kept < 0:
        return Promise(target, None, positives, 0, confidence)
    rounded = math.floor(table["threshold"][kept] * 1000) / 1000
    return Promise(target, rounded, positives, operating_point(table, rounded).tp, confidence)


def validation_promise(evaluation: Evaluation, target: float) -> Promise | None:
    """What a model's validation split can promise of a sensitivity of `target` (0 to 1).

    None where evaluation.json does not count validation by group.
    """
    table = evaluation.validation_by_group
    return None if table is None else promise(table, target)


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95% interval; NaN where there is nothing to count it on."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Outcome:
    """What becomes of `people`, of whom the share `prevalence` have cancer. Counts are expected numbers of people."""

    found: Estimate
    missed: Estimate
    false_alarms: Estimate
    ppv: Estimate
    npv: Estimate


def outcome(point: OperatingPoint, prevalence: float, people: int = 1000) -> Outcome:
    """A threshold's operating point, carried over to `people` at another `prevalence` (0..1, exclusive).

    Supposes that sensitivity and specificity are the same there. Found and missed have sensitivity's interval, false
    alarms specificity's. PPV and NPV rise with both shares, so they lie between what the lower and what the upper
    bounds of both give; each of the two is a 97.5% interval, so that the two hold together with at least 95%
    (Bonferroni). Raises ValueError for a prevalence that is none.
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
