"""The texts of each class (plain words, next step and source), its urgency in words, and the confidence in words.

Names, malignancy and urgency are those of tasks.py, the texts those of class_texts.json: our own sentences with their
sources. Plain text throughout.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from src.tasks import Task, Urgency

Confidence = Literal["high", "medium", "low"]
HIGH, MEDIUM = 0.8, 0.6
"""The probability from which confidence is high, and from which it is medium."""

URGENCIES: Final[Mapping[Urgency, tuple[str, int]]] = {
    "urgent": ("Urgent", 3),
    "soon": ("Soon", 2),
    "routine": ("Routine", 1),
    "none": ("Not urgent", 0),
}
"""Its word, and how many of BARS are full."""
BARS = 3

HOW_SURE = (
    f"Confidence is the probability of the most probable class in words: high from {HIGH:.0%}, medium from "
    f"{MEDIUM:.0%}, low below. The decision rests on p(malignant), the sum over all malignant classes, and not on this."
)
HOW_URGENT = "Urgency is how soon a clinician usually sees such a finding, if it is one. A clinician decides."


class Source(BaseModel):
    """The source of a text's facts; `url` is https."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    title: str
    url: str


class ClassText(BaseModel):
    """One class explained: `plain` in a few words, `what` it is in two sentences, the usual `next_step`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    plain: str
    what: str
    next_step: str
    sources: tuple[Source, ...]


class ClassMeaning(ClassText):
    """A class's text with the urgency of such a finding."""

    urgency: Urgency


CLASS_TEXTS: Final[Mapping[str, Mapping[str, ClassText]]] = TypeAdapter(dict[str, dict[str, ClassText]]).validate_json(
    (Path(__file__).parent / "class_texts.json").read_bytes()
)
"""Task name -> class code -> its text."""


def confidence(probability: float) -> Confidence:
    """How sure a class's `probability` (0..1) is, in a word."""
    return "high" if probability >= HIGH else "medium" if probability >= MEDIUM else "low"


def meanings(task: Task) -> dict[str, ClassMeaning]:
    """Class code -> its text and urgency, in the order of the task's classes."""
    return {
        one.code: ClassMeaning(**dict(CLASS_TEXTS[task.name][one.code]), urgency=one.urgency) for one in task.classes
    }
