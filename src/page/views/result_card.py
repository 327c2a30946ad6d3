"""A Result as HTML: the decision, the most probable classes with the warnings, and the probabilities of all classes.

Knows nothing of Gradio, pixels or models. Colour is never the only sign: every state has its own word and icon.
"""

from collections.abc import Mapping
from typing import Final

from src.models.prediction import RegionKind
from src.page.render import render
from src.page.translation import gettext as _
from src.page.translation import marked
from src.page.views.class_meanings import described
from src.results.result import GateResult, Result
from src.results.thresholds import decide
from src.tasks import Task

READ_PARTS: Final[Mapping[RegionKind, str]] = {
    "picture": marked("the framed part"),
    "field": marked("the scanned field"),
    "lesion": marked("the lesion that it found"),
    "tile": marked("the tile with the highest p(malignant)"),
}


MOST_PROBABLE: Final = 3
"""The number of classes beside the decision. All classes are in the details."""


def no_result() -> str:
    """The text in place of the decision before an image is read."""
    return render("no_result.html")


def reading(place: int | None = None) -> str:
    """The text in place of the decision while an image is read, or while it waits at `place` in the queue."""
    return render("reading.html", place=place)


def no_classes(task: Task, *, reading: bool = False) -> str:
    """Empty rows in place of the most probable classes, of the same height. They pulse while an image is read."""
    return render("classes_pending.html", rows=min(MOST_PROBABLE, len(task.classes)), reading=reading)


def no_details() -> str:
    """The text in place of the details before an image is read."""
    return render("no_details.html")


def refusal(sentence: str) -> str:
    """The text in place of the decision for an image that cannot be read: `sentence` is the reason."""
    return render("refusal.html", sentence=sentence)


def gate_question(task: Task, verdict: GateResult) -> str:
    """The text in place of the decision for an image that does not look like one of `task`, without the answer."""
    return render("gate_question.html", task=task, verdict=verdict)


def decision(result: Result) -> str:
    """The decision in a word and a sentence, and a style sheet that places p(malignant) on the threshold's slider."""
    disagree = len({decide(p, result.threshold) for p in result.members}) > 1
    return render("decision.html", result=result, disagree=disagree)


def most_probable(result: Result) -> str:
    """The most probable classes with probability, kind and urgency, and the warnings about the image."""
    return render("most_probable.html", result=result, classes=described(result)[:MOST_PROBABLE])


def details(result: Result) -> str:
    """The probabilities of all classes, and the part of the image that was read."""
    left, upper, right, lower = result.region
    return render(
        "details.html",
        result=result,
        region_name=_(READ_PARTS[result.region_kind]),
        left=left,
        upper=upper,
        region_width=right - left,
        region_height=lower - upper,
    ) + _cine(result)


def _cine(result: Result) -> str:
    """The p(malignant) of each frame of a cine as a bar chart; "" for any other file."""
    if result.cine is None:
        return ""
    bars = [{"frame": frame, "p": p} for frame, p in zip(result.cine.read, result.cine.p_malignant, strict=True)]
    return render("cine.html", cine=result.cine, bars=bars, highest=max(result.cine.p_malignant), task=result.task)
