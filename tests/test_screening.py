"""src/screening.py: decisions, counts against scikit-learn's, intervals against values worked out by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from src.screening import (
    OperatingPoint,
    decide,
    highest_threshold,
    operating_point,
    proportion_interval,
    threshold_table,
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
    with pytest.raises(ValueError, match="No score"):
        highest_threshold([], 0.95)
