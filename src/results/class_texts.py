"""The texts of each class (plain words, next step and source), its urgency in words, and the confidence in words.

Names, malignancy and urgency come from tasks.py. The texts come from class_texts.json; they are our own sentences with
their sources, in plain text.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from src.tasks import Task, Urgency

Confidence = Literal["high", "medium", "low"]
HIGH, MEDIUM = 0.8, 0.6
"""Confidence is high from the first probability on, and medium from the second on."""

URGENCIES: Final[Mapping[Urgency, tuple[str, int]]] = {
    "urgent": ("Urgent", 3),
    "soon": ("Soon", 2),
    "routine": ("Routine", 1),
    "none": ("Not urgent", 0),
}
"""Urgency -> its word, and how many of BARS are full."""
BARS = 3

CONFIDENCE_NOTE = (
    f"Confidence describes the probability of the most probable class: high from {HIGH:.0%}, medium from {MEDIUM:.0%}, "
    "else low. The decision does not depend on it. It depends on p(malignant), the sum over all malignant classes."
)
URGENCY_NOTE = "Urgency says how soon a clinician usually sees a patient with such a finding. A clinician decides."


class Source(BaseModel):
    """A source of the facts in a text; `url` is an https address."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    title: str
    url: str


class ClassText(BaseModel):
    """The explanation of a class: `plain` in a few words, `what` in some sentences, and the usual `next_step`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    plain: str
    what: str
    next_step: str
    sources: tuple[Source, ...]


class ClassMeaning(ClassText):
    """The explanation of a class, with the urgency of such a finding."""

    urgency: Urgency


CLASS_TEXTS: Final[Mapping[str, Mapping[str, ClassText]]] = TypeAdapter(dict[str, dict[str, ClassText]]).validate_json(
    (Path(__file__).parent / "class_texts.json").read_bytes()
)
"""Task name -> class code -> its text."""


def confidence(probability: float) -> Confidence:
    """The word for a class's `probability` (0 to 1)."""
    return "high" if probability >= HIGH else "medium" if probability >= MEDIUM else "low"


def meanings(task: Task) -> dict[str, ClassMeaning]:
    """Class code -> its text and urgency, in the order of the task's classes."""
    return {
        diagnosis.code: ClassMeaning(**dict(CLASS_TEXTS[task.name][diagnosis.code]), urgency=diagnosis.urgency)
        for diagnosis in task.classes
    }
