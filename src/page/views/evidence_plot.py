"""The plot with which the Evidence tab begins: sensitivity and specificity of every model on every held-out set.

Every figure comes from an evaluation.json. Knows nothing of Gradio, images or networks.
"""

from collections.abc import Iterable
from typing import Any

from markupsafe import Markup

from src.models.evaluation import MALIGNANT, EvaluatedSet, Evaluation, Proportion
from src.page.render import render
from src.results.formatting import percent


def plot(shown: Iterable[tuple[str, Evaluation]]) -> Markup:
    """A row for each held-out set of each model, with a dot and a 95% interval for sensitivity and specificity.

    `shown` has the title and the evaluation of each model. Below the plot stands how each figure came about.
    """
    models = [
        {"title": title, "rows": [_row(one) for one in evaluation.held_out], "intervals": evaluation.intervals}
        for title, evaluation in shown
    ]
    return render("evidence_plot.html", models=models)


def _row(one: EvaluatedSet) -> dict[str, Any]:
    point = one.at_default_threshold[MALIGNANT]
    return {
        "set": one.title,
        "external": one.kind == "away",
        "n": one.n,
        "threshold": point.threshold,
        "shares": [
            _share("Sensitivity", point.sensitivity, point.tp, "malignant images are referred"),
            _share("Specificity", point.specificity, point.tn, "other images are not referred"),
        ],
    }


def _share(name: str, found: Proportion, count: int, meaning: str) -> dict[str, Any]:
    low, high = found.interval
    return {
        "name": name,
        "value": found.value,
        "low": low,
        "high": high,
        "figure": "–" if found.value is None else percent(found.value),
        "ends": "" if low is None or high is None else f"{percent(low)} to {percent(high)}",
        "derivation": f"{count:,} of {found.of:,} {meaning}",
    }
