"""From scores and labels to metrics with intervals. scikit-learn computes them; this module resamples.

It knows nothing of files, of networks or of the meaning of a threshold. The positive class is always malignant.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    f1_score,
    log_loss,
    roc_auc_score,
)

from src.models.probabilities import calibrated
from src.results.thresholds import OperatingPoint, operating_point, proportion_interval
from src.tasks import Task

RESAMPLES = 1000
CALIBRATION_BINS = 10


def p_malignant(task: Task, probabilities: np.ndarray) -> np.ndarray:
    """(N, C) probabilities -> (N,) their sum over the malignant classes."""
    return probabilities[:, list(task.malignant)].sum(axis=1).clip(0, 1)


def is_malignant(task: Task, labels: np.ndarray) -> np.ndarray:
    """(N,) class indices -> (N,) bool."""
    return np.array(task.malignant)[labels]


def auc(positive: np.ndarray, scores: np.ndarray) -> float:
    """The area under the ROC curve; NaN if one class has no sample."""
    return float(roc_auc_score(positive, scores)) if 0 < positive.sum() < len(positive) else math.nan


def auc_macro(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean of the one-against-rest AUC over the classes that occur."""
    found = [auc(labels == c, probabilities[:, c]) for c in np.unique(labels)]
    return math.nan if np.isnan(found).all() else float(np.nanmean(found))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature in 0.05..20 under which softmax(logits / T) gives `labels` the highest likelihood.

    `logits` (N, C), `labels` (N,); Guo et al. 2017, arXiv:1706.04599.
    """

    def loss(log_temperature: float) -> float:
        p = calibrated(logits, math.exp(log_temperature))[np.arange(len(labels)), labels]
        return float(-np.log(p.clip(1e-12)).mean())

    return math.exp(minimize_scalar(loss, bounds=(math.log(0.05), math.log(20)), method="bounded").x)


def fit_bias(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The bias for each class that, with a temperature, gives `labels` the highest likelihood; float64 (C,).

    To be added to `logits` (N, C) before the division by the temperature: bias-corrected temperature scaling,
    Alexandari et al. 2020, arXiv:1901.06852. `labels` (N,).
    """

    def loss(parameters: np.ndarray) -> float:
        scaled = (logits + parameters[1:]) * math.exp(parameters[0])
        return float(-log_softmax(scaled, axis=1)[np.arange(len(labels)), labels].mean())

    bias = minimize(loss, np.zeros(logits.shape[1] + 1), method="L-BFGS-B").x[1:]
    return bias - bias.mean()


def quick(task: Task, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The metrics of an epoch's validation, from uncalibrated `logits` (N, C)."""
    probabilities = calibrated(logits, 1.0)
    return {
        "loss": float(log_loss(labels, probabilities, labels=range(len(task.codes)))),
        "accuracy": float(accuracy_score(labels, probabilities.argmax(axis=1))),
        "auc_malignant": auc(is_malignant(task, labels), p_malignant(task, probabilities)),
        "auc_macro": auc_macro(labels, probabilities),
    }


def calibration(positive: np.ndarray, scores: np.ndarray) -> list[dict[str, Any]]:
    """The non-empty ones of ten equal bins of p(malignant): each has n, the mean score and the share of cancers."""
    bins = np.minimum((scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    rows = []
    for b in np.unique(bins):
        inside = bins == b
        n, cancers = int(inside.sum()), int(positive[inside].sum())
        rows.append(
            {
                "lower": b / CALIBRATION_BINS,
                "upper": (b + 1) / CALIBRATION_BINS,
                "n": n,
                "mean_score": float(scores[inside].mean()),
                "share_malignant": cancers / n,
                "interval": list(proportion_interval(cancers, n)),
            }
        )
    return rows


def calibration_error(positive: np.ndarray, scores: np.ndarray) -> float:
    """Expected calibration error of p(malignant) over ten equal bins (Naeini et al. 2015), in 0..1."""
    return sum(
        row["n"] * abs(row["mean_score"] - row["share_malignant"]) for row in calibration(positive, scores)
    ) / len(scores)


def point_estimates(task: Task, probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The metrics that do not depend on a threshold, from calibrated probabilities (N, C) and labels (N,)."""
    positive, scores, predicted = is_malignant(task, labels), p_malignant(task, probabilities), probabilities.argmax(1)
    present = np.unique(labels)
    found = {
        "auc_malignant": auc(positive, scores),
        "average_precision": float(average_precision_score(positive, scores)) if positive.any() else math.nan,
        "accuracy": float(accuracy_score(labels, predicted)),
        # The mean of the recalls. scikit-learn's function would warn if a resample lacks a class.
        "balanced_accuracy": float(np.mean([(predicted[labels == c] == c).mean() for c in present])),
        "f1_macro": float(f1_score(labels, predicted, labels=present, average="macro", zero_division=0)),
        "brier": float(brier_score_loss(positive, scores)),
        "calibration_error": calibration_error(positive, scores),
    }
    if len(task.codes) > 2:
        found["auc_macro"] = auc_macro(labels, probabilities)
    for code in task.reported_alone:
        index = task.codes.index(code)
        found[f"auc_{code}"] = auc(labels == index, probabilities[:, index])
    return found


def bootstrap(
    statistics: Callable[[np.ndarray], Mapping[str, float]], groups: Sequence[str], seed: int = 0
) -> dict[str, list[float]]:
    """95% percentile intervals from RESAMPLES bootstrap samples of whole groups (lesions, cases, duplicates).

    `statistics` takes an index array (with repeats) and returns figures by name. Draws in which a figure is NaN are
    left out of its interval. The same seed gives the same intervals.
    """
    rng = np.random.default_rng(seed)
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    by_group = np.split(np.argsort(members, kind="stable"), np.cumsum(np.bincount(members))[:-1])
    draws: dict[str, list[float]] = {}
    for _ in range(RESAMPLES):
        chosen = np.concatenate([by_group[g] for g in rng.integers(len(names), size=len(names))])
        for name, value in statistics(chosen).items():
            draws.setdefault(name, []).append(value)
    return {name: np.nanpercentile(values, [2.5, 97.5]).tolist() for name, values in draws.items()}


def mean(values: np.ndarray, groups: Sequence[str]) -> dict[str, Any]:
    """The mean of `values` (N,) with a 95% bootstrap interval over whole groups; None without values."""
    if not len(values):
        return {"value": None, "interval": [None, None]}
    drawn = bootstrap(lambda rows: {"mean": float(values[rows].mean())}, groups)
    return {"value": float(values.mean()), "interval": drawn["mean"]}


def share(hits: np.ndarray, groups: Sequence[str]) -> dict[str, Any]:
    """The share of `hits` (N,), each in 0..1, with an exact 95% interval that counts each group as one case.

    Images of a group are not independent. A bootstrap would give an interval without width for 0 of 40. None without
    values.
    """
    if not len(hits):
        return {"value": None, "interval": [None, None]}
    value, independent = float(np.mean(hits)), len(set(groups))
    return {"value": value, "interval": list(proportion_interval(value * independent, independent))}


def proportions(point: OperatingPoint) -> dict[str, dict[str, Any]]:
    """Sensitivity, specificity, PPV and NPV at one threshold with exact 95% intervals; None without cases."""
    shares = {
        "sensitivity": (point.tp, point.tp + point.fn),
        "specificity": (point.tn, point.tn + point.fp),
        "ppv": (point.tp, point.tp + point.fp),
        "npv": (point.tn, point.tn + point.fn),
    }
    return {
        name: {
            "value": k / n if n else None,
            "interval": list(proportion_interval(k, n)) if n else None,
            "of": n,
        }
        for name, (k, n) in shares.items()
    }


def at_threshold(table: Mapping[str, Sequence[Any]], threshold: float) -> dict[str, Any]:
    """The counts of a threshold table at one threshold, and the proportions they make with exact 95% intervals."""
    point = operating_point(table, threshold)
    return {
        "threshold": threshold,
        "tp": point.tp,
        "fp": point.fp,
        "tn": point.tn,
        "fn": point.fn,
        **proportions(point),
    }
