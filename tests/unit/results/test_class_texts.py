"""What a class means and how sure the model is: src/results/class_texts.py, src/results/class_texts.json."""

import json
import re
from typing import Any

import pytest

from src.results import class_texts
from src.tasks import TASKS

CLASSES = [(task, diagnosis) for task in TASKS.values() for diagnosis in task.classes]


def result(task: str, **changes: Any) -> dict[str, Any]:
    """What meaning() reads of an answer: the classes, the first the most probable."""
    classes = TASKS[task].classes
    shares = [0.7, *[0.3 / (len(classes) - 1)] * (len(classes) - 1)]
    return {
        "task": task,
        "classes": [{"code": d.code, "probability": p} for d, p in zip(classes, shares, strict=True)],
        **changes,
    }


def test_every_class_has_a_text_and_no_text_lacks_its_class() -> None:
    assert {(task, code) for task, texts in class_texts.MEANINGS.items() for code in texts} == {
        (task.name, diagnosis.code) for task, diagnosis in CLASSES
    }


@pytest.mark.parametrize(("task", "diagnosis"), CLASSES, ids=lambda one: getattr(one, "code", one.name))
def test_a_class_is_told_in_two_sentences_with_a_source(task: Any, diagnosis: Any) -> None:
    text = class_texts.MEANINGS[task.name][diagnosis.code]
    assert len(re.findall(r"[.](?= |$)", text.what)) == 2, text.what
    assert text.next_step.endswith(".")
    assert text.plain
    assert not text.plain.endswith(".")
    assert text.sources
    assert all(source.url.startswith("https://") and source.title for source in text.sources)


def test_what_is_malignant_is_never_left_to_wait() -> None:
    assert all(diagnosis.urgency in ("urgent", "soon") for _, diagnosis in CLASSES if diagnosis.malignant)
    assert all(diagnosis.urgency in ("routine", "none") for _, diagnosis in CLASSES if not diagnosis.malignant)
    assert {diagnosis.urgency for _, diagnosis in CLASSES} == class_texts.URGENCIES.keys()


@pytest.mark.parametrize(
    ("probability", "word"),
    [(1, "high"), (0.8, "high"), (0.7999, "medium"), (0.6, "medium"), (0.5999, "low"), (0, "low")],
)
def test_confidence_in_words(probability: float, word: str) -> None:
    assert class_texts.confidence(probability) == word


@pytest.mark.parametrize("task", TASKS)
def test_every_class_is_shown_and_the_most_probable_one_open(task: str) -> None:
    shown = class_texts.meaning(result(task))
    entries = re.findall(r"<details.*?</details>", shown)
    assert len(entries) == len(TASKS[task].classes)
    assert [" open>" in entry for entry in entries] == [True] + [False] * (len(entries) - 1)
    assert "medium confidence" in shown
    for entry, diagnosis in zip(entries, TASKS[task].classes, strict=True):
        text, (word, bars) = class_texts.MEANINGS[task][diagnosis.code], class_texts.URGENCIES[diagnosis.urgency]
        assert f">{'malignant' if diagnosis.malignant else 'not malignant'}<" in entry
        drawn = '<i class="v-full"></i>' * bars + "<i></i>" * (class_texts.BARS - bars)
        assert f'class="v-urgency v-{diagnosis.urgency}">{drawn} {word}<' in entry
        assert all(f'href="{source.url}" target="_blank" rel="noopener noreferrer"' in entry for source in text.sources)


def test_an_urgency_is_told_by_word_and_bars_too() -> None:
    words, bars = zip(*class_texts.URGENCIES.values(), strict=True)
    assert len(set(words)) == len(set(bars)) == 4


def test_markup_in_a_text_is_inert(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = class_texts.Meaning(
        "<b>x", "<script>alert(1)</script>", '"><img>', (class_texts.Source("<i>", '"><script>'),)
    )
    monkeypatch.setattr(class_texts, "MEANINGS", {"skin": dict.fromkeys(TASKS["skin"].codes, evil)})
    shown = class_texts.meaning(result("skin"))
    assert not re.search(r"<(script|img)", shown)
    assert 'href="&quot;&gt;&lt;script&gt;"' in shown


def test_the_api_has_the_texts_of_every_class() -> None:
    texts = class_texts.texts("skin")
    assert json.loads(json.dumps(texts)) == texts
    assert tuple(texts) == TASKS["skin"].codes
    assert texts["mel"].keys() == {"urgency", "plain", "what", "next_step", "sources"}
    assert texts["mel"]["urgency"] == "urgent"
    assert texts["mel"]["sources"][0]["url"] == "https://www.nice.org.uk/guidance/ng12"
