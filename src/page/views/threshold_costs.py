"""What a threshold costs, as HTML: at home and away, for a thousand people, and what it can promise.

Pure: counts in, markup out; knows nothing of Gradio or pictures. Every figure that moves with the threshold is made
here, in `figures`. `board` has them ready for every threshold that the slider can stand on, so that the page's script
(page.js) only looks them up and the server need not be asked while the thumb moves.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from src.page.views import curves
from src.page.views.result_card import percent
from src.results.evaluation import MALIGNANT, TARGETS, Measured, Place
from src.results.thresholds import INTERVAL_METHOD, PEOPLE, PREVALENCE, Estimate, Promise, operating_point, outcome
from src.tasks import Task

STANDARD, CLINICAL_SAFETY = 0.5, 0.3

STEP = 0.01
"""The slider's."""

_KINDS = {
    "home": ("At home", "held out from training"),
    "second": ("At home, second set", "held out from training"),
    "away": ("Away", "nothing of it in training"),
}


@dataclass(frozen=True)
class Mark:
    """A threshold to choose by name. None where it cannot be had; `promise` is what a target's mark rests on."""

    name: str
    threshold: float | None
    promise: Promise | None = None


def marks(measured: Measured, default: float) -> list[Mark]:
    """The slider's marks: the model's default, the two usual ones, and a sensitivity promised by validation."""
    named = [Mark("Standard", STANDARD), Mark("Clinical safety", CLINICAL_SAFETY)]
    if default not in (STANDARD, CLINICAL_SAFETY):
        named.insert(0, Mark("Default", default))
    for target in TARGETS:
        promise = measured.promise(target)
        named.append(Mark(f"{target:.0%} sensitivity", promise.threshold if promise else None, promise))
    return named


def grid(measured: Measured, default: float) -> list[float]:
    """Every threshold that slider and marks can stand on, ascending."""
    steps = (round(i * STEP, 2) for i in range(round(1 / STEP) + 1))
    named = (mark.threshold for mark in marks(measured, default) if mark.threshold is not None)
    return sorted({*steps, *named, default})


def figures(measured: Measured, threshold: float, prevalence: float) -> dict[str, str]:
    """Every figure that moves with the threshold, as it is shown: "NUMBER OF THE PLACE.FIGURE" -> text, safe in HTML.

    `prevalence` is how many of PEOPLE are ill, more than none and fewer than all. The key of an interval ends so.
    """
    shown = {"threshold": f"{threshold:g}"}
    for i, place in enumerate(measured.places):
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


def board(measured: Measured, thresholds: Sequence[float], prevalence: float) -> dict[str, list[str] | list[float]]:
    """`figures` and the curves' `moves` for each of `thresholds`, as columns; the thresholds themselves are "at"."""
    rows = [figures(measured, threshold, prevalence) for threshold in thresholds]
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    return {"at": list(thresholds), **columns, **curves.moves(measured, thresholds)}


def _amount(people: float) -> str:
    """Expected numbers of people: with a decimal below ten, and no 0 for what is not none."""
    if math.isnan(people):
        return "–"
    if 0 < people < 0.05:
        return "&lt;0.1"
    return f"{people:.1f}" if people < 9.95 else f"{people:,.0f}"


def panel(task: Task, measured: Measured, threshold: float, prevalence: float, thresholds: Sequence[float]) -> str:
    """What this threshold costs wherever the model was measured; the script moves its figures along `thresholds`."""
    if not measured.places:
        return (
            '<h3>What a threshold costs</h3><p class="v-note">Not evaluated: this checkpoint brings no figures from a '
            "test split.</p>"
        )
    shown = figures(measured, threshold, prevalence)
    columns = json.dumps(board(measured, thresholds, prevalence), ensure_ascii=False, separators=(",", ":"))
    heads = "".join(_head(place) for place in measured.places)

    def row(key: str, name: str, meaning: str, kind: str = "") -> str:
        cells = "".join(
            f'<td><b data-v="{i}.{key}">{shown[f"{i}.{key}"]}</b> '
            f'<span data-v="{i}.{key}_interval">{shown[f"{i}.{key}_interval"]}</span></td>'
            if f"{i}.{key}" in shown
            else "<td>–</td>"
            for i in range(len(measured.places))
        )
        return f'<tr class="{kind}"><th scope="row">{name} <small>{meaning}</small></th>{cells}</tr>'

    names = {diagnosis.code: diagnosis.name for diagnosis in task.classes}
    alone = "".join(
        row(f"sensitivity_{code}", f"{names[code]} alone", "its own sensitivity", "v-alone")
        for code in task.reported_alone
        if any(code in place.tables for place in measured.places)
    )
    # The quotation marks of JSON stand as they are in an attribute between apostrophes.
    attribute = escape(columns, quote=False).replace("'", "&#x27;")
    return (
        f"<section class=\"v-costs\" data-board='{attribute}'>"
        f'<h3>What the threshold <b data-v="threshold">{shown["threshold"]}</b> costs</h3>'
        f'<table style="--v-places:{len(measured.places)}"><thead><tr><td></td>{heads}</tr></thead><tbody>'
        + row("sensitivity", "Sensitivity", f"of those with {task.disease}, referred")
        + alone
        + row("specificity", "Specificity", "of those without, not referred")
        + f'</tbody><tbody><tr><th scope="rowgroup" colspan="{len(measured.places) + 1}">Of {PEOPLE:,} '
        f"{task.counted}, {prevalence:g} with {task.disease}</th></tr>"
        + row("found", "Found", f"with {task.disease}, referred")
        + row("missed", "Missed", f"with {task.disease}, but not referred", "v-missed")
        + row("false_alarms", "False alarms", "without, but referred")
        + row("ppv", "PPV", f"of the referred, with {task.disease}")
        + row("npv", "NPV", "of the others, without")
        + f"</tbody></table>{_away(measured)}{_method(task, measured)}</section>"
    )


def _head(place: Place) -> str:
    kind, meaning = _KINDS[place.kind]
    return (
        f'<th scope="col" class="v-{place.kind}">{kind}<b>{escape(place.title)}</b>'
        f"<small>{meaning}<br>{place.positives:,} malignant, {place.negatives:,} not</small></th>"
    )


def _away(measured: Measured) -> str:
    if any(place.kind == "away" for place in measured.places):
        return ""
    return (
        '<p class="v-note">Measured at home alone: this model has read no pictures from elsewhere. Expect it to do '
        "worse where pictures are made differently.</p>"
    )


def _method(task: Task, measured: Measured) -> str:
    several = [place for place in measured.places if 0 < place.groups < place.pictures]
    dependent = (
        " Pictures count as independent, though "
        + " and ".join(f"{place.title}'s {place.pictures:,} are of {place.groups:,} {task.group}s" for place in several)
        + "."
    )
    return (
        '<details class="v-method"><summary>How the intervals come about</summary><p>In brackets 95% intervals, from '
        f"pictures that no choice was made on. Sensitivity and specificity: {INTERVAL_METHOD}."
        f"{escape(dependent) if several else ''} Found, missed and false alarms: expected numbers, if sensitivity and "
        "specificity are the same among them, with the interval carried over. PPV and NPV depend on both: from the "
        "lower and the upper ends of two 97.5% intervals, so that together they hold with at least 95%.</p></details>"
    )


def prevalence_hint(measured: Measured) -> str:
    """Beside the prevalence: how common the disease is where the figures come from."""
    home = measured.home
    split = f" {home.title}'s test split has {PEOPLE * home.positives / home.pictures:.0f}." if home else ""
    return f"Yours to set; {PREVALENCE} is of the order that screening meets.{split}"


def ticks(measured: Measured, default: float, slider: str) -> str:
    """A style sheet that draws the marks on the slider, whose element id is `slider`."""
    at = [mark.threshold for mark in marks(measured, default) if mark.threshold is not None]
    # The thumb, 16 pixels wide, is centred on a value; a tick is 2 pixels wide, and 100% leaves that out.
    images = ", ".join("linear-gradient(currentColor, currentColor)" for _ in at)
    places = ", ".join(f"calc(7px + {threshold:g} * (100% - 14px)) 0" for threshold in at)
    return (
        f"<style>#{slider} input[type=range] {{ background-image: {images}; background-position: {places}; "
        "background-size: 2px 100%; background-repeat: no-repeat }</style>"
    )


def promises(task: Task, measured: Measured) -> str:
    """What the marks for a sensitivity rest on, or why there is none."""
    counted = [promise for target in TARGETS if (promise := measured.promise(target)) is not None]
    if not counted:
        return (
            '<p class="v-note">No sensitivity is promised: this checkpoint\'s evaluation.json does not count '
            f"validation by {task.group}.</p>"
        )
    lines = "".join(f"<li>{_promised(task, promise)}{_unseen(measured, promise)}</li>" for promise in counted)
    alone = (
        ""
        if measured.groups < measured.pictures
        else f" Each {task.group} counts by itself: the set does not say which are of one patient."
    )
    hopeful = "Validation also chose when training ended, which leans a little to the hopeful."
    return f'<ul class="v-note v-promises">{lines}</ul><p class="v-note">{hopeful}{alone}</p>'


def _unseen(measured: Measured, promise: Promise) -> str:
    """What became of the promise in sources that a network had not learned from; "" where that was not measured."""
    found = measured.unseen.get(promise.target, {})
    if not found:
        return ""
    lowest, highest = percent(min(found.values())), percent(max(found.values()))
    each = ", ".join(f"{escape(title)} {percent(share)}" for title, share in found.items())
    several = f"{lowest} to {highest} ({each})" if len(found) > 1 else each
    return (
        f" <b>Elsewhere: {several}.</b> So many were found where the same recipe had learned nothing of that source "
        f"and its validation promised {promise.target:.0%}."
    )


def _promised(task: Task, promise: Promise) -> str:
    what = f"{promise.positives:,} {task.group}s with {task.disease}"
    target = f"{promise.target:.0%}"
    if promise.threshold is None:
        return (
            f"<b>{target} sensitivity cannot be promised:</b> validation has {what}; if all of them were found, that "
            f"would prove no more than {100 * promise.provable:.1f}%. It takes {promise.needed} without a miss."
        )
    return (
        f"<b>{target} sensitivity, {promise.threshold:g}:</b> there {promise.found:,} of validation's {what} are "
        f"referred, whichever of their pictures is read. So, with {promise.confidence:.0%} confidence, are at least "
        f"{target} of all such."
    )
