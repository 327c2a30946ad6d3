"""The meaning of each class of a Result, as HTML: plain words, urgency, next step and source.

Colour is never the only sign: every urgency also has a word and a number of bars.
"""

from collections.abc import Mapping
from typing import Any, Final

from src.page.render import render
from src.page.translation import gettext as _
from src.page.translation import marked, translated
from src.results.class_texts import BARS, CLASS_TEXTS, CONFIDENCE_NOTE, URGENCIES, URGENCY_NOTE, Confidence
from src.results.result import Result

CONFIDENCES: Final[Mapping[Confidence, str]] = {
    "high": marked("high confidence"),
    "medium": marked("medium confidence"),
    "low": marked("low confidence"),
}


def described(result: Result) -> list[dict[str, Any]]:
    """Each class with its probability, text and urgency, the most probable first."""
    diagnoses = {diagnosis.code: diagnosis for diagnosis in result.about_task.classes}
    classes = []
    for one in result.classes:
        diagnosis = diagnoses[one.code]
        word, bars = URGENCIES[diagnosis.urgency]
        classes.append(
            {
                "diagnosis": diagnosis,
                "probability": one.probability,
                "text": CLASS_TEXTS[result.task][one.code],
                "urgency": word,
                "bars": [bar < bars for bar in range(BARS)],
            }
        )
    return classes


def class_meanings(result: Result) -> str:
    """An entry per class. The entry of the most probable class is open, the others are closed."""
    return render(
        "class_meanings.html",
        classes=described(result),
        confidence=_(CONFIDENCES[result.confidence]),
        notes=(translated(CONFIDENCE_NOTE), translated(URGENCY_NOTE)),
    )
