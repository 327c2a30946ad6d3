"""train/evaluation/metrics.py against hand counts."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from src.tasks import TASKS
from train.evaluation import metrics


def test_metrics_against_hand_counts() -> None:
    task = TASKS["ultrasound"]
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.2, 0.1, 0.7]])
    labels = np.array([0, 1, 0, 2])
    found = metrics.point_estimates(task, probabilities, labels)
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert found["auc_malignant"] == 1.0
    assert found["brier"] == pytest.approx((0.2**2 + 0.2**2 + 0.4**2 + 0.1**2) / 4)


def test_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 1.5, (4000, 3))
    p = np.exp(honest) / np.exp(honest).sum(1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in p])
    assert metrics.fit_temperature(honest * 3, labels) == pytest.approx(3, rel=0.1)


def test_bias_and_temperature_undo_a_shifted_prior() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 1.5, (6000, 3))
    p = np.exp(honest) / np.exp(honest).sum(1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in p])
    shift = np.array([1.0, -0.5, -0.5])
    bias = metrics.fit_bias((honest + shift) * 2, labels)
    assert bias == pytest.approx(-shift * 2, abs=0.25)
    assert metrics.fit_temperature((honest + shift) * 2 + bias, labels) == pytest.approx(2, rel=0.1)


def test_bootstrap_draws_whole_groups() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=30), 20)
    groups = np.repeat(np.arange(30), 20).astype(str)
    by_group = metrics.bootstrap(lambda i: {"mean": float(values[i].mean())}, list(groups))["mean"]
    by_row = metrics.bootstrap(lambda i: {"mean": float(values[i].mean())}, [str(i) for i in range(600)])["mean"]
    # Twenty copies of a value say no more than one: the interval is about sqrt(20) times as wide.
    assert 2.5 < (by_group[1] - by_group[0]) / (by_row[1] - by_row[0]) < 7


@pytest.mark.parametrize("seed", range(10))
def test_auc_is_scikit_learns_and_the_share_of_pairs_in_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive, scores = rng.random(80) < 0.3, rng.random(80).round(1 + seed % 3)  # with ties
    assert metrics.auc(positive, scores) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    difference = scores[positive][:, None] - scores[~positive][None, :]
    in_order = (difference > 0) + 0.5 * (difference == 0)
    assert metrics.auc(positive, scores) == pytest.approx(in_order.mean(), abs=1e-12)
    assert np.isnan(metrics.auc(np.ones(5, dtype=bool), scores[:5]))
