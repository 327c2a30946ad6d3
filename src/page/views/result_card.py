"""A Result -> what the page shows of it, as HTML.

Pure: knows nothing of Gradio, pictures or models. Never colour alone: every state has a word and a sign of its own.
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
    """The decision's place before there is one."""
    return render("no_result.html")


def refusal(sentence: str) -> str:
    """The decision's place where a picture cannot be read."""
    return render("refusal.html", sentence=sentence)


def gate_question(task: Task, verdict: GateResult) -> str:
    """The decision's place where the picture does not look like one of `task`: a question, and nothing of an answer."""
    return render("gate_question.html", task=task, verdict=verdict)


def decision(result: Result) -> str:
    """The banner: refer or not, and p(malignant) on a bar with a mark at the threshold."""
    return render("decision.html", result=result)


def details(result: Result) -> str:
    """Class probabilities, warnings and what part of the picture was read."""
    left, upper, right, lower = result.region
    return render(
        "details.html",
        result=result,
        seen_part=READ_PARTS[result.region_kind],
        left=left,
        upper=upper,
        seen_width=right - left,
        seen_height=lower - upper,
    )
