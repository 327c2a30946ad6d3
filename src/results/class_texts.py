"""What each class means for a person: plain words, urgency, next step and source; and how sure, in words.

Names, malignancy and urgency are those of tasks.py, the texts those of meanings.json, our own sentences with their
sources. Pure: knows wording and markup, nothing of Gradio, pictures or models. Whatever is put into markup is escaped
here. Never colour alone: every urgency has a word, and bars to count.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any, Final, Literal

from src.page.views.result_card import percent
from src.tasks import TASKS, Diagnosis, Urgency

Result = Mapping[str, Any]

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
    f"Confidence is the most probable class's own probability in words: high from {HIGH:.0%}, medium from "
    f"{MEDIUM:.0%}, low below. The decision rests on p(malignant), all malignant classes together, and not on this."
)
HOW_URGENT = "Urgency is how soon such a finding is usually looked at, if that is what it is. A clinician decides."


@dataclass(frozen=True)
class Source:
    """Where a text's facts are from; `url` is https."""

    title: str
    url: str


@dataclass(frozen=True)
class Meaning:
    """One class explained: `plain` in a few words, `what` it is in two sentences, the usual `next_step`."""

    plain: str
    what: str
    next_step: str
    sources: tuple[Source, ...]


def _read() -> dict[str, dict[str, Meaning]]:
    texts = json.loads((Path(__file__).parent / "class_texts.json").read_text(encoding="utf-8"))
    return {
        task: {
            code: Meaning(**{**text, "sources": tuple(Source(**source) for source in text["sources"])})
            for code, text in classes.items()
        }
        for task, classes in texts.items()
    }


MEANINGS: Final[Mapping[str, Mapping[str, Meaning]]] = _read()
"""Task name -> class code -> its meaning."""


def confidence(probability: float) -> Confidence:
    """How sure a class's `probability` (0..1) is, in a word."""
    return "high" if probability >= HIGH else "medium" if probability >= MEDIUM else "low"


def texts(task: str) -> dict[str, dict[str, Any]]:
    """Class code -> plain, urgency, what, next_step and sources, JSON-able, for the API's `meaning`."""
    told = {}
    for diagnosis in TASKS[task].classes:
        text = MEANINGS[task][diagnosis.code]
        sources = [asdict(source) for source in text.sources]
        told[diagnosis.code] = {**asdict(text), "urgency": diagnosis.urgency, "sources": sources}
    return told


def meaning(result: Result) -> str:
    """The API's `result` -> what its classes mean, as HTML: the most probable one open, the others to be opened."""
    diagnoses = {diagnosis.code: diagnosis for diagnosis in TASKS[result["task"]].classes}
    classes = result["classes"]
    sure = confidence(classes[0]["probability"])
    entries = "".join(
        _entry(result["task"], diagnoses[one["code"]], one["probability"], is_open=i == 0)
        for i, one in enumerate(classes)
    )
    return (
        f'<section class="v-meaning"><h3>What does it mean?</h3><p>Most probable: '
        f"<b>{escape(diagnoses[classes[0]['code']].name)}</b>, {percent(classes[0]['probability'])}, "
        f'<b class="v-confidence">{sure} confidence</b>.</p>{entries}<p class="v-note">{HOW_SURE} {HOW_URGENT}</p>'
        "</section>"
    )


def _entry(task: str, diagnosis: Diagnosis, probability: float, is_open: bool) -> str:
    text = MEANINGS[task][diagnosis.code]
    word, bars = URGENCIES[diagnosis.urgency]
    kind = '<span class="v-tag">malignant' if diagnosis.malignant else '<span class="v-tag v-not">not malignant'
    drawn = '<i class="v-full"></i>' * bars + "<i></i>" * (BARS - bars)
    sources = "; ".join(
        f'<a href="{escape(source.url)}" target="_blank" rel="noopener noreferrer">{escape(source.title)}</a>'
        for source in text.sources
    )
    return (
        f'<details class="v-class"{" open" if is_open else ""}><summary><b>{escape(diagnosis.name)}</b> {kind}</span> '
        f'<span class="v-urgency v-{diagnosis.urgency}">{drawn} {word}</span> '
        f"<span>{percent(probability)}</span></summary><p><b>{escape(text.plain)}.</b> {escape(text.what)}</p>"
        f"<p><b>Usual next step:</b> {escape(text.next_step)}</p>"
        f'<p class="v-note">Source: {sources}</p></details>'
    )
