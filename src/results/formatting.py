"""How the figures of evaluation.json are written, the same on the page and on the cards; knows no model."""

from collections.abc import Mapping
from typing import Any, Final

MIN_CASES = 20
"""No figure is given for fewer cases: the exact 95% interval of 10 in 20 spans 46 points."""

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
"""What is said of a recipe trained several times over, each with another seed."""


def percent(share: float) -> str:
    """0.1234 -> 12.3%, as plain text; never 0.0% or 100.0% for a share that is not exactly that."""
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{100 * share:.1f}%"


def figure(found: Mapping[str, Any]) -> str:
    """ "0.912 (0.874 to 0.945)" of `value` and `interval` (None where it is not known), or a dash without a value."""
    if found["value"] is None:
        return "–"
    if found["interval"] is None:
        return f"{found['value']:.3f}"
    low, high = found["interval"]
    return f"{found['value']:.3f} ({low:.3f} to {high:.3f})"


def held_out(evaluation: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Name -> what is known of each set that the model was not chosen by: the test splits, then sets from elsewhere."""
    tests = {name: split for name, split in evaluation["splits"].items() if name.startswith("test")}
    return tests | evaluation.get("external", {})


def over_seeds(evaluation: Mapping[str, Any], name: str, metric: str) -> str | None:
    """Mean and range of a metric on one split over the seeds it was trained with; None where there are none."""
    values = [run["splits"].get(name, {}).get(metric) for run in evaluation.get("seeds", ())]
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.3f} ({min(known):.3f} to {max(known):.3f})" if known else None
