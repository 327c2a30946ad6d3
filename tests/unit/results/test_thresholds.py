"""src/results/thresholds.py: decisions, counts against scikit-learn's, intervals against values worked out by hand."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm
from sklearn.metrics import confusion_matrix

from src.results.thresholds import (
    Estimate,
    OperatingPoint,
    decide,
    highest_threshold,
    lower_bound,
    operating_point,
    outcome,
    positives_needed,
    promise,
    proportion_interval,
    threshold_table,
    worst_per_group,
)


@pytest.mark.parametrize(
    ("p", "threshold", "decision"),
    [(0.3, 0.3, "refer"), (0.2999, 0.3, "no referral"), (0.0, 0.0, "refer"), (0.999, 1.0, "no referral")],
)
def test_decision_refers_from_the_threshold_on(p: float, threshold: float, decision: str) -> None:
    assert decide(p, threshold) == decision


def test_threshold_table_by_hand() -> None:
    table = threshold_table([0.2, 0.8, 0.5, 0.5], [False, True, True, False])
    assert table == {
        "threshold": [0.2, 0.5, 0.8],
        "tp": [2, 2, 1],
        "fp": [2, 1, 0],
        "tn": [0, 1, 2],
        "fn": [0, 0, 1],
    }


@pytest.mark.parametrize("seed", range(20))
def test_operating_point_counts_as_scikit_learn_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    # One decimal on every other seed, so that there are ties.
    scores = rng.random(n).round(1 if seed % 2 else 6)
    positive = rng.random(n) < rng.choice([0.0, 0.3, 1.0], p=[0.1, 0.8, 0.1])
    table = threshold_table(scores.tolist(), positive.tolist())
    above = float(np.nextafter(scores.max(), 2))
    for threshold in [0.0, 1.0, above, *scores.tolist(), *np.nextafter(scores, 0).tolist(), *rng.random(10).tolist()]:
        point = operating_point(table, threshold)
        (tn, fp), (fn, tp) = confusion_matrix(positive, scores >= threshold, labels=[False, True])
        assert (point.tp, point.fp, point.tn, point.fn) == (tp, fp, tn, fn), threshold
        assert point.threshold == threshold


def test_operating_point_of_an_empty_table_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        operating_point(threshold_table([], []), 0.5)


def test_scores_without_labels_are_refused() -> None:
    with pytest.raises(ValueError):
        threshold_table([0.1, 0.2], [True])


def test_operating_point_proportions() -> None:
    point = OperatingPoint(0.3, tp=9, fp=20, tn=60, fn=1)
    assert point.sensitivity == 0.9
    assert point.specificity == 0.75
    assert point.sensitivity_interval == proportion_interval(9, 10)
    assert point.specificity_interval == proportion_interval(60, 80)
    nobody = OperatingPoint(0.3, 0, 0, 0, 0)
    assert math.isnan(nobody.sensitivity)
    assert math.isnan(nobody.specificity)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # n of n: (alpha/2)^(1/n); 0 of n: its mirror
        (59, 59, 0.025 ** (1 / 59), 1.0),
        (0, 20, 0.0, 1 - 0.025 ** (1 / 20)),
        (1, 1, 0.025, 1.0),
        # R's binom.test(9, 10) and binom.test(50, 100)
        (9, 10, 0.5549839, 0.9974714),
        (50, 100, 0.3983211, 0.6016789),
        (0, 0, 0.0, 1.0),
    ],
)
def test_proportion_interval(successes: int, n: int, low: float, high: float) -> None:
    assert proportion_interval(successes, n) == pytest.approx((low, high), abs=1e-6)


def test_all_of_59_is_no_certainty() -> None:
    assert proportion_interval(59, 59)[0] == pytest.approx(0.939, abs=5e-4)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.975])
@pytest.mark.parametrize("n", [1, 7, 59, 294])
def test_proportion_interval_is_scipys(n: int, confidence: float) -> None:
    for successes in range(0, n + 1, max(1, n // 10)):
        theirs = binomtest(successes, n).proportion_ci(confidence, method="exact")
        assert proportion_interval(successes, n, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
        bound = binomtest(successes, n, alternative="greater").proportion_ci(confidence, method="exact").low
        assert lower_bound(successes, n, confidence) == pytest.approx(bound, abs=1e-9)


def test_42_of_42_prove_no_more_than_93_percent() -> None:
    assert lower_bound(42, 42) == pytest.approx(0.05 ** (1 / 42))
    assert lower_bound(42, 42) == pytest.approx(0.931, abs=5e-4)


@pytest.mark.parametrize(("target", "misses", "n"), [(0.95, 0, 59), (0.9, 0, 29), (0.95, 1, 93), (0.99, 0, 299)])
def test_positives_needed_by_the_tables(target: float, misses: int, n: int) -> None:
    # as in tables of Wilks' tolerance limits
    assert positives_needed(target, misses) == n


@pytest.mark.parametrize("target", [0.5, 0.8, 0.9, 0.95, 0.97])
@pytest.mark.parametrize("misses", [0, 1, 2, 5])
def test_positives_needed_is_where_the_bound_reaches_the_target(target: float, misses: int) -> None:
    n = positives_needed(target, misses)
    assert lower_bound(n - misses, n) >= target
    assert n == misses + 1 or lower_bound(n - 1 - misses, n - 1) < target
    assert binom.cdf(misses, n, 1 - target) <= 0.05 + 1e-12


def test_one_a_group_is_the_worst_of_each_side() -> None:
    scores, positive = worst_per_group(
        [0.9, 0.2, 0.4, 0.6, 0.1, 0.7], [True, True, True, False, False, False], ["a", "a", "b", "b", "c", "c"]
    )
    assert sorted(zip(scores, positive, strict=True)) == [(0.2, True), (0.4, True), (0.6, False), (0.7, False)]


def test_promise_by_hand() -> None:
    # 59 positives promise 95% only with none missed, and 90% with one: that takes 46, two misses would take 61.
    scores = [round(0.1 + i / 100, 4) for i in range(59)]
    table = threshold_table([*scores, 0.0994, 0.05], [True] * 59 + [False] * 2)
    found = promise(table, 0.95)
    assert (found.threshold, found.found, found.positives, found.needed) == (0.1, 59, 59, 59)
    assert [positives_needed(0.9, misses) for misses in (1, 2)] == [46, 61]
    assert promise(table, 0.9).threshold == scores[1]
    assert promise(table, 0.9).found == 58


def test_promise_is_rounded_down() -> None:
    table = threshold_table([0.12789] * 59, [True] * 59)
    assert promise(table, 0.95).threshold == 0.127


@pytest.mark.parametrize("target", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_a_promise_is_that_of_the_highest_row_that_keeps_it(target: float) -> None:
    rng = np.random.default_rng(11)
    for n in (1, 2, 30, 100, 700):
        scores = rng.integers(0, 400, n) / 1000
        table = threshold_table(scores.tolist(), (rng.random(n) < 0.7).tolist())
        positives = table["tp"][0] + table["fn"][0]
        keeping = [
            threshold
            for threshold, found in zip(table["threshold"], table["tp"], strict=True)
            if lower_bound(found, positives) >= target
        ]
        assert promise(table, target).threshold == (max(keeping) if keeping else None)


@pytest.mark.parametrize("positives", [0, 1, 42, 58])
def test_too_few_positives_promise_nothing(positives: int) -> None:
    table = threshold_table([0.9] * positives + [0.1] * 50, [True] * positives + [False] * 50)
    found = promise(table, 0.95)
    assert (found.threshold, found.positives, found.needed) == (None, positives, 59)
    assert found.provable == pytest.approx(0.05 ** (1 / positives) if positives else 0)
    assert promise(threshold_table([], []), 0.95).threshold is None


def simulated(rng: np.random.Generator, lesions: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and lesions of malignant pictures: one to six of each lesion, alike with a correlation of 0.8.

    Scores are uniform in 0..1, so the true sensitivity by picture at a threshold is one less it.
    """
    lesion = np.repeat(np.arange(lesions), rng.integers(1, 7, size=lesions))
    z = np.sqrt(0.8) * rng.standard_normal(lesions)[lesion] + np.sqrt(0.2) * rng.standard_normal(len(lesion))
    return norm.cdf(z), lesion


def chosen_thresholds(by_lesion: bool, target: float, draws: int = 800) -> np.ndarray:
    """The threshold promised for `target` by each of many validation sets of 120 simulated lesions."""
    rng, thresholds = np.random.default_rng(7), []
    for _ in range(draws):
        scores, lesion = simulated(rng, 120)
        cases = scores.tolist(), [True] * len(scores)
        found = promise(threshold_table(*(worst_per_group(*cases, lesion.tolist()) if by_lesion else cases)), target)
        assert found.threshold is not None
        thresholds.append(found.threshold)
    return np.array(thresholds)


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.9, 0.95])
def test_a_promise_is_kept_as_often_as_it_says(target: float) -> None:
    thresholds = chosen_thresholds(True, target)
    scores, lesion = simulated(np.random.default_rng(8), 50_000)
    worst = np.sort(np.minimum.reduceat(scores, np.unique(lesion, return_index=True)[1]))
    found_whole = 1 - np.searchsorted(worst, thresholds) / len(worst)
    assert np.mean(found_whole >= target) >= 0.95, "of lesions, whichever picture is read"
    assert np.mean(1 - thresholds >= target) >= 0.95, "of pictures"


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.9, 0.95])
def test_taking_pictures_for_lesions_would_break_it(target: float) -> None:
    assert np.mean(1 - chosen_thresholds(False, target) >= target) < 0.9


@pytest.mark.slow
def test_a_promise_over_single_pictures_is_no_more_cautious_than_need_be() -> None:
    rng = np.random.default_rng(3)
    kept = []
    for _ in range(2000):
        threshold = promise(threshold_table(rng.random(93).tolist(), [True] * 93), 0.95).threshold
        assert threshold is not None
        kept.append(1 - threshold >= 0.95)
    # The second of 93 uniform scores is at most 0.05 with this probability; rounded down, a little more often.
    assert np.mean(kept) == pytest.approx(1 - binom.cdf(1, 93, 0.05), abs=0.015)


def test_outcome_by_hand() -> None:
    point = OperatingPoint(0.3, tp=90, fp=100, tn=300, fn=10)
    at = outcome(point, 0.02)
    # 20 ill, 980 well
    assert at.found.value == pytest.approx(18)
    assert at.missed.value == pytest.approx(2)
    assert at.false_alarms.value == pytest.approx(245)
    assert at.ppv.value == pytest.approx(18 / 263)
    assert at.npv.value == pytest.approx(735 / 737)
    low, high = proportion_interval(90, 100)
    assert (at.found.low, at.found.high) == pytest.approx((20 * low, 20 * high))
    assert (at.missed.low, at.missed.high) == pytest.approx((20 * (1 - high), 20 * (1 - low)))
    low, high = proportion_interval(300, 400)
    assert (at.false_alarms.low, at.false_alarms.high) == pytest.approx((980 * (1 - high), 980 * (1 - low)))
    (se, _), (sp, _) = proportion_interval(90, 100, 0.975), proportion_interval(300, 400, 0.975)
    assert at.ppv.low == pytest.approx(20 * se / (20 * se + 980 * (1 - sp)))
    assert at.npv.low == pytest.approx(980 * sp / (980 * sp + 20 * (1 - se)))


def test_outcome_at_the_splits_own_prevalence_is_what_was_counted() -> None:
    at = outcome(OperatingPoint(0.3, tp=45, fp=30, tn=120, fn=5), 0.25, people=200)
    assert [at.found.value, at.missed.value, at.false_alarms.value] == pytest.approx([45, 5, 30])
    assert [at.ppv.value, at.npv.value] == pytest.approx([45 / 75, 120 / 125])


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_outcome_at_the_ends(threshold: float) -> None:
    point = OperatingPoint(0.0, 50, 80, 0, 0) if threshold == 0 else OperatingPoint(1.0, 0, 0, 80, 50)
    at = outcome(point, 0.1)
    if threshold == 0:  # everyone is referred: nobody is told "no referral"
        assert at.ppv.value == pytest.approx(0.1)
        assert math.isnan(at.npv.value)
    else:
        assert at.npv.value == pytest.approx(0.9)
        assert math.isnan(at.ppv.value)
    for estimate in (at.ppv, at.npv):
        assert 0 <= estimate.low <= estimate.high <= 1


def test_outcome_without_cases_claims_nothing() -> None:
    at = outcome(OperatingPoint(0.3, 0, 10, 90, 0), 0.1)
    assert math.isnan(at.found.value)
    assert (at.found.low, at.found.high) == (0, pytest.approx(100))


@pytest.mark.parametrize("prevalence", [0, 1, -0.1, 1.1, math.nan])
def test_what_is_no_prevalence(prevalence: float) -> None:
    with pytest.raises(ValueError, match="prevalence"):
        outcome(OperatingPoint(0.3, 1, 1, 1, 1), prevalence)


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "prevalence"), list(product((0.7, 0.95), (0.6, 0.9), (0.01, 0.3)))
)
def test_predictive_values_are_covered(sensitivity: float, specificity: float, prevalence: float) -> None:
    # Exactly, over every count that 30 ill and 40 well can give.
    ill, well = 30, 40
    true_ppv = prevalence * sensitivity / (prevalence * sensitivity + (1 - prevalence) * (1 - specificity))
    true_npv = (1 - prevalence) * specificity / ((1 - prevalence) * specificity + prevalence * (1 - sensitivity))
    covered = {"ppv": 0.0, "npv": 0.0, "found": 0.0}
    for tp, tn in product(range(ill + 1), range(well + 1)):
        weight = binom.pmf(tp, ill, sensitivity) * binom.pmf(tn, well, specificity)
        at = outcome(OperatingPoint(0.5, tp, well - tn, tn, ill - tp), prevalence)

        def holds(estimate: Estimate, truth: float) -> bool:
            return estimate.low - 1e-12 <= truth <= estimate.high + 1e-12

        covered["ppv"] += weight * holds(at.ppv, true_ppv)
        covered["npv"] += weight * holds(at.npv, true_npv)
        covered["found"] += weight * holds(at.found, 1000 * prevalence * sensitivity)
    assert min(covered.values()) >= 0.95


@pytest.mark.parametrize(
    ("share", "threshold"), [(1.0, 0.1), (0.75, 0.4), (0.76, 0.1), (0.5, 0.6), (0.25, 0.9), (0.0, 0.9)]
)
def test_highest_threshold_by_hand(share: float, threshold: float) -> None:
    assert highest_threshold([0.4, 0.9, 0.1, 0.6], share) == threshold


@pytest.mark.parametrize("seed", range(20))
def test_highest_threshold_refers_the_share_and_no_higher_one_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.random(int(rng.integers(1, 80))).round(1 if seed % 2 else 6)
    for k in range(len(scores) + 1):
        # shares that are whole numbers of cases: where rounding would take one case too many
        share = k / len(scores)
        threshold = highest_threshold(scores.tolist(), share)
        assert np.count_nonzero(scores >= threshold) >= k
        if threshold < scores.max():
            higher = scores[scores > threshold].min()
            assert np.count_nonzero(scores >= higher) < k, share


def test_highest_threshold_without_a_score_is_refused() -> None:
    with pytest.raises(ValueError, match="no scores"):
        highest_threshold([], 0.95)
