"""The figures of evaluation.json as text, in the same form on the page and on the cards."""

from collections.abc import Mapping
from typing import Final

from src.models.evaluation import MALIGNANT, Evaluation, Metric

MIN_CASES = 20
"""Proportions of fewer cases are not shown: the exact 95% interval of 10 in 20 spans 46 percentage points."""

METRIC_NAMES: Final[Mapping[str, str]] = {
    "auc_malignant": "AUC, malignant",
    "auc_macro": "AUC, macro over classes",
    "auc_mel": "AUC, melanoma",
    "average_precision": "Average precision, malignant",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "f1_macro": "F1, macro",
    "brier": "Brier score",
    "calibration_error": "Expected calibration error",
}

SPREAD_NAMES: Final = {
    "auc_malignant": "AUC, malignant",
    "auc_macro": "AUC, macro",
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}
"""The metrics that are compared between seeds, with their titles."""


SHARE_NAMES: Final = ("sensitivity", "specificity", "ppv", "npv")
"""The proportions at a threshold, in the order of the tables."""


def share_title(name: str, target: str) -> str:
    """ "Sensitivity", "PPV" or "Sensitivity for mel": one of SHARE_NAMES, for all malignant classes or one code."""
    title = name.upper() if len(name) == 3 else name.capitalize()
    return title if target == MALIGNANT else f"{title} for {target}"


def percent(share: float) -> str:
    """0.1234 -> 12.3%. Only a share of exactly 0 gives 0.0%, and only a share of exactly 1 gives 100.0%."""
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{100 * share:.1f}%"


def with_interval(metric: Metric | None) -> str:
    """ "0.912 (0.874 to 0.945)"; "0.912" if the interval is unknown; a dash if there is no value."""
    if metric is None or metric.value is None:
        return "–"
    low, high = metric.interval
    ends = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return f"{metric.value:.3f}{ends}"


def over_seeds(evaluation: Evaluation, name: str, metric: str) -> str | None:
    """The mean and range of a metric over the seeds, on the set called `name`; None if no seed has it."""
    values = [run.splits.get(name, {}).get(metric) for run in evaluation.seeds]
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.3f} ({min(known):.3f} to {max(known):.3f})" if known else None
