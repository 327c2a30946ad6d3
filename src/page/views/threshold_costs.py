"""What a threshold costs, as HTML: on each held-out set, for a thousand people, and which sensitivity it can promise.

Knows nothing of Gradio or of pixels. `moving_figures` computes every figure that changes with the threshold.
`moving_columns` has these figures for every threshold of the slider (src/page/views/cost_summary.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from src.models.evaluation import MALIGNANT, TARGETS, Evaluation
from src.page.number_format import decimals, general, local, percent, percentage, thousands, whole_percent
from src.page.render import render
from src.page.translation import gettext as _
from src.page.translation import marked
from src.page.views import curves
from src.results.thresholds import (
    INTERVAL_METHOD,
    PEOPLE,
    PREVALENCE,
    Estimate,
    Promise,
    operating_point,
    outcome,
    validation_promise,
)
from src.tasks import Task

STANDARD, CLINICAL_SAFETY = 0.5, 0.3

STEP = 0.01
"""The step of the slider."""

_KINDS = {
    "home": (marked("Test split"), marked("held out from training")),
    "second": (marked("Second test split"), marked("held out from training")),
    "away": (marked("External dataset"), marked("not used in training")),
}


@dataclass(frozen=True)
class NamedThreshold:
    """A threshold that the visitor can choose by name.

    `promise` is the promised sensitivity that a threshold is for. `threshold` is None if it cannot be promised.
    """

    name: str
    threshold: float | None
    promise: Promise | None = None


def named_thresholds(evaluation: Evaluation, default: float) -> list[NamedThreshold]:
    """The model's default threshold, the two usual ones, and those for which validation promises a sensitivity."""
    named = [NamedThreshold(_("Standard"), STANDARD), NamedThreshold(_("Clinical safety"), CLINICAL_SAFETY)]
    if default not in (STANDARD, CLINICAL_SAFETY):
        named.insert(0, NamedThreshold(_("Default"), default))
    for target in TARGETS:
        promise = validation_promise(evaluation, target)
        named.append(
            NamedThreshold(
                _("%(share)s sensitivity", share=whole_percent(target)), promise.threshold if promise else None, promise
            )
        )
    return named


def marks(evaluation: Evaluation, default: float) -> list[NamedThreshold]:
    """The named thresholds in the order of the slider, ascending; then those that cannot be promised."""
    return sorted(
        named_thresholds(evaluation, default), key=lambda one: math.inf if one.threshold is None else one.threshold
    )


def slider_thresholds(evaluation: Evaluation, default: float) -> list[float]:
    """Every step of the slider and every named threshold, ascending."""
    steps = (round(i * STEP, 2) for i in range(round(1 / STEP) + 1))
    named = (one.threshold for one in named_thresholds(evaluation, default) if one.threshold is not None)
    return sorted({*steps, *named, default})


def moving_figures(evaluation: Evaluation, threshold: float, prevalence: float) -> dict[str, str]:
    """The texts of all figures that change with the threshold.

    A key is "threshold", or has the number of the held-out set: "0.sensitivity" is the sensitivity on the first one.

    `prevalence` is how many of PEOPLE are ill, more than none and fewer than all. The key of an interval ends with
    "_interval".
    """
    shown = {"threshold": general(threshold)}
    for i, test_set in enumerate(evaluation.held_out):
        point = operating_point(test_set.tables[MALIGNANT], threshold)
        expected = outcome(point, prevalence / PEOPLE, PEOPLE)
        estimates = {
            "sensitivity": Estimate(point.sensitivity, *point.sensitivity_interval),
            "specificity": Estimate(point.specificity, *point.specificity_interval),
            "ppv": expected.ppv,
            "npv": expected.npv,
        }
        for code in test_set.tables.keys() - {MALIGNANT}:
            alone = operating_point(test_set.tables[code], threshold)
            estimates[f"sensitivity_{code}"] = Estimate(alone.sensitivity, *alone.sensitivity_interval)
        for key, share in estimates.items():
            shown[f"{i}.{key}"] = "–" if math.isnan(share.value) else percent(share.value)
            shown[f"{i}.{key}_interval"] = _between(percentage(share.low), percentage(share.high))
        counts = {"found": expected.found, "missed": expected.missed, "false_alarms": expected.false_alarms}
        for key, count in counts.items():
            shown[f"{i}.{key}"] = number_of_people(count.value)
            shown[f"{i}.{key}_interval"] = _between(number_of_people(count.low), number_of_people(count.high))
    return shown


def _between(low: str, high: str) -> str:
    return f"({_('%(low)s to %(high)s', low=low, high=high)})"


def moving_columns(
    evaluation: Evaluation, thresholds: Sequence[float], prevalence: float
) -> dict[str, list[str] | list[float]]:
    """The figures, and the positions on the curves, as columns with a value per threshold; "at" has the thresholds."""
    rows = [moving_figures(evaluation, threshold, prevalence) for threshold in thresholds]
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    return {"at": list(thresholds), **columns, **curves.moving_positions(evaluation, thresholds)}


def number_of_people(people: float) -> str:
    """An expected number of people: with a decimal below ten, and "<0.1" for a small number that is not 0."""
    if math.isnan(people):
        return "–"
    if 0 < people < 0.05:
        return local("<0.1")
    return decimals(people) if people < 9.95 else thousands(people)


def cost_section(task: Task, evaluation: Evaluation, threshold: float, prevalence: float) -> str:
    """What this threshold costs on each held-out set."""
    if not evaluation.held_out:
        return render("not_evaluated.html")
    names = {diagnosis.code: diagnosis.name for diagnosis in task.classes}
    return render(
        "threshold_costs.html",
        task=task,
        columns_by_set=[
            {"test_set": test_set, "kind": _KINDS[test_set.kind][0], "meaning": _KINDS[test_set.kind][1]}
            for test_set in evaluation.held_out
        ],
        shown=moving_figures(evaluation, threshold, prevalence),
        alone=[
            (code, names[code])
            for code in task.reported_alone
            if any(code in test_set.tables for test_set in evaluation.held_out)
        ],
        people=PEOPLE,
        prevalence=prevalence,
        has_external=any(test_set.kind == "away" for test_set in evaluation.held_out),
        interval_method=INTERVAL_METHOD,
        grouped=[test_set for test_set in evaluation.held_out if 0 < test_set.groups < test_set.n],
    )


def prevalence_hint(evaluation: Evaluation) -> str:
    """The hint below the prevalence slider: how common the disease is in screening and in the test split."""
    home = evaluation.home
    hint = _("Choose the number for your setting. In screening, it is about %(n)s.", n=PREVALENCE)
    if home is None:
        return hint
    split = _(
        "In the test split of %(title)s, %(n)s of %(people)s images are malignant.",
        title=home.title,
        n=thousands(PEOPLE * home.positives / home.n),
        people=thousands(PEOPLE),
    )
    return f"{hint} {split}"


def threshold_marks(task: Task, evaluation: Evaluation, default: float) -> str:
    """The buttons of the named thresholds in a row, with lines to their places on the task's slider."""
    return render("threshold_marks.html", task=task, marks=marks(evaluation, default))


def promised_sensitivities(task: Task, evaluation: Evaluation) -> str:
    """The evidence for each promised sensitivity, or the reason why it cannot be promised."""
    found = (validation_promise(evaluation, target) for target in TARGETS)
    promises: list[dict[str, Any]] = []
    for promise in found:
        if promise is not None:
            unseen = evaluation.left_out_sensitivity.get(promise.target, {})
            known = {title: one.value for title, one in unseen.items() if one and one.value is not None}
            promises.append(
                {
                    "promise": promise,
                    "target": whole_percent(promise.target),
                    "confidence": whole_percent(promise.confidence),
                    "unseen": known,
                    "not_promised": [title for title in unseen if title not in known],
                }
            )
    at_default = {
        title: point.sensitivity.value
        for title, source in evaluation.left_out_titled.items()
        if (point := source.at_default_threshold.get(MALIGNANT)) and point.sensitivity.value is not None
    }
    validation = evaluation.validation
    return render(
        "promised_sensitivities.html",
        task=task,
        promises=promises,
        unseen_at_default=at_default,
        groups_known=validation is not None and validation.groups < validation.n,
    )
