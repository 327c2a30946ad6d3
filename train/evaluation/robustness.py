"""How often small changes of an image flip a checkpoint's decision: `robustness` in evaluation.json."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from src.models.perturbations import perturbations, predict_perturbed
from src.models.predictor import Predictor
from train.data import Sample
from train.evaluation import metrics


def evaluate_robustness(predictor: Predictor, samples: Sequence[Sample], threshold: float) -> dict[str, Any]:
    """The flip rates of `samples`, decided at `threshold` (src.models.evaluation.RobustnessEvaluation)."""
    found = [
        predict_perturbed(predictor, sample.picture()) for sample in tqdm(samples, desc="perturbations", unit="image")
    ]
    labels = np.array([sample.label for sample in samples])
    groups = [f"{sample.source}/{sample.group}" for sample in samples]
    names = [perturbation.name for perturbation in perturbations(predictor.task)]
    scores = np.array([[as_it_is.p_malignant, *(p for _, p in perturbed)] for as_it_is, perturbed in found])
    return flip_rates(scores, metrics.is_malignant(predictor.task, labels), groups, threshold, names)


def flip_rates(
    scores: np.ndarray, positive: np.ndarray, groups: Sequence[str], threshold: float, names: Sequence[str]
) -> dict[str, Any]:
    """The share of images whose decision flips, and the mean range of their p(malignant).

    `scores` (N, 1 + changes) has p(malignant) of the unchanged image first, then of each change in `names`. `positive`
    is bool (N,). The shares have exact intervals, the ranges bootstrap intervals; both count groups, not images.
    """
    referred = scores >= threshold
    flipped = referred[:, 1:] != referred[:, :1]
    spread = scores.max(axis=1) - scores.min(axis=1)
    every = np.ones(len(scores), dtype=bool)
    rows_of = {"all": every, "malignant": positive, "other": ~positive}
    return {
        "n": len(scores),
        "groups": len(set(groups)),
        "threshold": threshold,
        "pictures": {
            label: {
                "n": int(rows.sum()),
                "flipped": metrics.share(flipped[rows].any(axis=1), _at(groups, rows)),
                "spread": metrics.mean(spread[rows], _at(groups, rows)),
            }
            for label, rows in rows_of.items()
        },
        "views": {name: metrics.share(flipped[:, i], groups) for i, name in enumerate(names)},
    }


def _at(groups: Sequence[str], rows: np.ndarray) -> list[str]:
    return [groups[row] for row in np.flatnonzero(rows).tolist()]
