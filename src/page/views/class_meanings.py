"""The meaning of each class of a Result, as HTML: plain words, urgency, next step and source.

Never colour alone: every urgency has a word, and bars to count.
"""

from src.page.render import render
from src.results.class_texts import BARS, CLASS_TEXTS, HOW_SURE, HOW_URGENT, URGENCIES
from src.results.result import Result


def class_meanings(result: Result) -> str:
    """Each class explained: the most probable one open, the others to be opened."""
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
    return render("class_meanings.html", classes=classes, confidence=result.confidence, notes=(HOW_SURE, HOW_URGENT))
