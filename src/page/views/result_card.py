"""A Result as HTML: the decision, the class probabilities and the warnings.

Knows nothing of Gradio, pixels or models. Colour is never the only sign: every state has its own word and icon.
"""

from collections.abc import Mapping
from typing import Final

from src.models.prediction import RegionKind
from src.page.render import render
from src.results.result import GateResult, Result
from src.tasks import Task

READ_PARTS: Final[Mapping[RegionKind, str]] = {
    "picture": "the framed part",
    "field": "the scanned field",
    "lesion": "the lesion that it found",
    "tile": "the tile with the highest p(malignant)",
}


def no_result() -> str:
    """The text in place of the decision before an image is read."""
    return render("no_result.html")


def refusal(sentence: str) -> str:
    """The text in place of the decision for an image that cannot be read: `sentence` is the reason."""
    return render("refusal.html", sentence=sentence)


def gate_question(task: Task, verdict: GateResult) -> str:
    """The text in place of the decision for an image that does not look like one of `task`, without the answer."""
    return render("gate_question.html", task=task, verdict=verdict)


def decision(result: Result) -> str:
    """The decision, and p(malignant) as a bar with a mark at the threshold."""
    return render("decision.html", result=result)


def details(result: Result) -> str:
    """The warnings, the class probabilities, and the part of the image that was read."""
    left, upper, right, lower = result.region
    return render(
        "details.html",
        result=result,
        region_name=READ_PARTS[result.region_kind],
        left=left,
        upper=upper,
        region_width=right - left,
        region_height=lower - upper,
    )
