"""What a threshold costs, as HTML: at home and away, for a thousand people, and what it can promise.

Pure: counts in, markup out; knows nothing of Gradio or pictures. Every figure that moves with the threshold is made
here, in `moving_figures`. `moving_columns` has them ready for every threshold that the slider can stand on, so that the
page's script (page.js) only looks them up and the server need not be asked while the thumb moves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from src.models.evaluation import MALIGNANT, TARGETS, Evaluation
from src.page.render import render
from src.page.views import curves
from src.results.formatting import percent
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
"""The slider's."""

_KINDS = {
    "home": ("At home", "held out from training"),
    "second": ("At home, second set", "held out from training"),
    "away": ("Away", "not used in training"),
}


@dataclass(frozen=True)
class NamedThreshold:
    """A threshold to choose by name. None where it cannot be had; `promise` is what a target's threshold rests on."""

    name: str
    threshold: float | None
    promise: Promise | None = None


def named_thresholds(measured: Evaluation, default: float) -> list[NamedThreshold]:
    """The slider's marks: the model's default, the two usual ones, and a sensitivity promised by validation."""
    named = [NamedThreshold("Standard", STANDARD), NamedThreshold("Clinical safety", CLINICAL_SAFETY)]
    if default not in (STANDARD, CLINICAL_SAFETY):
        named.insert(0, NamedThreshold("Default", default))
    for target in TARGETS:
        promise = validation_promise(measured, target)
        named.append(NamedThreshold(f"{target:.0%} sensitivity", promise.threshold if promise else None, promise))
    return named


def slider_thresholds(measured: Evaluation, default: float) -> list[float]:
    """Every threshold that slider and marks can stand on, ascending."""
    steps = (round(i * STEP, 2) for i in range(round(1 / STEP) + 1))
    named = (mark.threshold for mark in named_thresholds(measured, default) if mark.threshold is not None)
    return sorted({*steps, *named, default})


def moving_figures(measured: Evaluation, threshold: float, prevalence: float) -> dict[str, str]:
    """Every figure that moves with the threshold, as it is shown: "NUMBER OF THE PLACE.FIGURE" -> text.

    `prevalence` is how many of PEOPLE are ill, more than none and fewer than all. The key of an interval ends so.
    """
    shown = {"threshold": f"{threshold:g}"}
    for i, place in enumerate(measured.held_out):
        point = operating_point(place.tables[MALIGNANT], threshold)
        carried = outcome(point, prevalence / PEOPLE, PEOPLE)
        estimates = {
            "sensitivity": Estimate(point.sensitivity, *point.sensitivity_interval),
            "specificity": Estimate(point.specificity, *point.specificity_interval),
            "ppv": carried.ppv,
            "npv": carried.npv,
        }
        for code in place.tables.keys() - {MALIGNANT}:
            alone = operating_point(place.tables[code], threshold)
            estimates[f"sensitivity_{code}"] = Estimate(alone.sensitivity, *alone.sensitivity_interval)
        for key, share in estimates.items():
            shown[f"{i}.{key}"] = "–" if math.isnan(share.value) else percent(share.value)
            shown[f"{i}.{key}_interval"] = f"({percent(share.low)[:-1]} to {percent(share.high)[:-1]})"
        counts = {"found": carried.found, "missed": carried.missed, "false_alarms": carried.false_alarms}
        for key, count in counts.items():
            shown[f"{i}.{key}"] = _amount(count.value)
            shown[f"{i}.{key}_interval"] = f"({_amount(count.low)} to {_amount(count.high)})"
    return shown


def moving_columns(
    measured: Evaluation, thresholds: Sequence[float], prevalence: float
) -> dict[str, list[str] | list[float]]:
    """Figures, and positions on the curves, for each of `thresholds`, as columns; "at" has the thresholds."""
    rows = [moving_figures(measured, threshold, prevalence) for threshold in thresholds]
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    return {"at": list(thresholds), **columns, **curves.moving_positions(measured, thresholds)}


def _amount(people: float) -> str:
    """Expected numbers of people: with a decimal below ten, and no 0 for what is not none."""
    if math.isnan(people):
        return "–"
    if 0 < people < 0.05:
        return "<0.1"
    return f"{people:.1f}" if people < 9.95 else f"{people:,.0f}"


def cost_section(
    task: Task, measured: Evaluation, threshold: float, prevalence: float, thresholds: Sequence[float]
) -> str:
    """What this threshold costs wherever the model was measured; the script moves its figures along `thresholds`."""
    if not measured.held_out:
        return render("not_evaluated.html")
    names = {diagnosis.code: diagnosis.name for diagnosis in task.classes}
    return render(
        "threshold_costs.html",
        task=task,
        places=[
            {"place": place, "kind": _KINDS[place.kind][0], "meaning": _KINDS[place.kind][1]}
            for place in measured.held_out
        ],
        shown=moving_figures(measured, threshold, prevalence),
        columns=moving_columns(measured, thresholds, prevalence),
        alone=[
            (code, names[code])
            for code in task.reported_alone
            if any(code in place.tables for place in measured.held_out)
        ],
        people=PEOPLE,
        prevalence=prevalence,
        away=any(place.kind == "away" for place in measured.held_out),
        interval_method=INTERVAL_METHOD,
        dependent=[place for place in measured.held_out if 0 < place.groups < place.n],
    )


def prevalence_hint(measured: Evaluation) -> str:
    """Beside the prevalence: how common the disease is where the figures come from. Plain text."""
    home = measured.home
    split = f" The test split of {home.title} has {PEOPLE * home.positives / home.n:.0f}." if home else ""
    return f"Choose the number for your setting. Screening finds about {PREVALENCE}.{split}"


def slider_ticks(measured: Evaluation, default: float, slider: str) -> str:
    """A style sheet that draws the named thresholds on the slider, whose element id is `slider`."""
    named = (mark.threshold for mark in named_thresholds(measured, default))
    return render("slider_ticks.html", slider=slider, thresholds=[at for at in named if at is not None])


def promised_sensitivities(task: Task, measured: Evaluation) -> str:
    """What the named thresholds for a sensitivity rest on, or why there is none."""
    found = (validation_promise(measured, target) for target in TARGETS)
    promises: list[dict[str, Any]] = [
        {
            "promise": promise,
            "target": f"{promise.target:.0%}",
            "confidence": f"{promise.confidence:.0%}",
            "unseen": measured.left_out_sensitivity.get(promise.target, {}),
        }
        for promise in found
        if promise is not None
    ]
    validation = measured.validation
    return render(
        "promised_sensitivities.html",
        task=task,
        promises=promises,
        groups_known=validation is not None and validation.groups < validation.n,
    )
