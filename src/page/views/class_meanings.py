"""The meaning of each class of a Result, as HTML: plain words, urgency, next step and source.

Never colour alone: every urgency has a word, and bars to count.
"""

from html import escape

from src.page.views.result_card import percent
from src.results.class_texts import BARS, CLASS_TEXTS, HOW_SURE, HOW_URGENT, URGENCIES
from src.results.result import Result
from src.tasks import Diagnosis


def class_meanings(result: Result) -> str:
    """Each class explained: the most probable one open, the others to be opened."""
    diagnoses = {diagnosis.code: diagnosis for diagnosis in result.about_task.classes}
    first = result.classes[0]
    entries = "".join(
        _entry(result.task, diagnoses[one.code], one.probability, is_open=i == 0)
        for i, one in enumerate(result.classes)
    )
    return (
        f'<section class="v-meaning"><h3>What does it mean?</h3><p>Most probable: '
        f"<b>{escape(diagnoses[first.code].name)}</b>, {percent(first.probability)}, "
        f'<b class="v-confidence">{result.confidence} confidence</b>.</p>{entries}'
        f'<p class="v-note">{HOW_SURE} {HOW_URGENT}</p></section>'
    )


def _entry(task: str, diagnosis: Diagnosis, probability: float, is_open: bool) -> str:
    text = CLASS_TEXTS[task][diagnosis.code]
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
