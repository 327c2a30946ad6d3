"""How the figures of evaluation.json are written, the same on the page and on the cards; knows no model."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

MIN_CASES = 20
"""Of fewer cases no figure is given: the exact 95% interval of 10 in 20 spans 46 points."""

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


def counted(found: Mapping[str, Any], n: str = "") -> str:
    """A cell: the figure and of how many (`n` where `of` is not what to say); of few, that they are too few."""
    of = f"<small>n = {n or format(found['of'], ',')}</small>"
    if found["of"] < MIN_CASES or found["value"] is None:
        return f'<span class="v-few">too few</span> {of}'
    return f"{figure(found)} {of}"


def held_out(evaluation: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Name -> what is known of each set that the model was not chosen by: the test splits, then sets from elsewhere."""
    tests = {name: split for name, split in evaluation["splits"].items() if name.startswith("test")}
    return tests | evaluation.get("external", {})


def set_title(evaluation: Mapping[str, Any], name: str) -> str:
    """What a set is called on the page: at home or elsewhere, where it is from and how large it is. Markup."""
    split = held_out(evaluation)[name]
    kind = "elsewhere" if name in evaluation.get("external", {}) else "test"
    return f"{kind}, {escape(' and '.join(split['sources']))} (n = {split['n']:,})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str, classes: str = "") -> str:
    """Cells are markup; the first of a row is its header."""
    columns = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{cells[0]}</th>{"".join(f"<td>{cell}</td>" for cell in cells[1:])}</tr>' for cells in rows
    )
    return (
        f'<div class="v-scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="v-evidence {classes}"><caption class="v-hidden">{escape(caption)}</caption>'
        f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def over_seeds(evaluation: Mapping[str, Any], name: str, metric: str) -> str | None:
    """Mean and range of a metric on one split over the seeds it was trained with; None where there are none."""
    values = [run["splits"].get(name, {}).get(metric) for run in evaluation.get("seeds", ())]
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.3f} ({min(known):.3f} to {max(known):.3f})" if known else None
