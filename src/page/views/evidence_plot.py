"""The plot with which the Evidence tab begins: sensitivity and specificity of every model on every held-out set.

Every figure comes from an evaluation.json. Knows nothing of Gradio, images or networks.
"""

from collections.abc import Iterable
from typing import Any

from markupsafe import Markup

from src.models.evaluation import MALIGNANT, EvaluatedSet, Evaluation, Proportion
from src.page.number_format import percent, thousands
from src.page.render import render
from src.page.translation import gettext as _


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
            _share(
                _("Sensitivity"),
                point.sensitivity,
                _("%(n)s of %(total)s malignant images are referred", **_counted(point.tp, point.sensitivity)),
            ),
            _share(
                _("Specificity"),
                point.specificity,
                _("%(n)s of %(total)s other images are not referred", **_counted(point.tn, point.specificity)),
            ),
        ],
    }


def _counted(count: int, found: Proportion) -> dict[str, str]:
    return {"n": thousands(count), "total": thousands(found.of)}


def _share(name: str, found: Proportion, derivation: str) -> dict[str, Any]:
    low, high = found.interval
    return {
        "name": name,
        "value": found.value,
        "low": low,
        "high": high,
        "figure": "–" if found.value is None else percent(found.value),
        "ends": "" if low is None or high is None else _("%(low)s to %(high)s", low=percent(low), high=percent(high)),
        "derivation": derivation,
    }
