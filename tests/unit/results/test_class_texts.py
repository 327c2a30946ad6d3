"""What a class means and how sure the model is: src/results/class_texts.py, src/results/class_texts.json."""

import json
import re
from typing import Any

import pytest

from src.results import class_texts
from src.tasks import TASKS

CLASSES = [(task, diagnosis) for task in TASKS.values() for diagnosis in task.classes]


def test_every_class_has_a_text_and_no_text_lacks_its_class() -> None:
    assert {(task, code) for task, texts in class_texts.CLASS_TEXTS.items() for code in texts} == {
        (task.name, diagnosis.code) for task, diagnosis in CLASSES
    }


@pytest.mark.parametrize(("task", "diagnosis"), CLASSES, ids=lambda one: getattr(one, "code", one.name))
def test_a_class_is_explained_in_short_sentences_with_a_source(task: Any, diagnosis: Any) -> None:
    text = class_texts.CLASS_TEXTS[task.name][diagnosis.code]
    for part in (text.what, text.next_step):
        assert part.endswith(".")
        assert len(part) < 350, "the PDF has room for two pages"
        sentences = re.split(r"(?<=[.]) ", part)
        assert all(sentence[0].isupper() or sentence[0].isdigit() for sentence in sentences)
        assert max(len(sentence.split()) for sentence in sentences) <= 40
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


def test_an_urgency_has_a_word_and_bars() -> None:
    words, bars = zip(*class_texts.URGENCIES.values(), strict=True)
    assert len(set(words)) == len(set(bars)) == 4


def test_the_api_has_the_texts_of_every_class() -> None:
    texts = {code: text.model_dump(mode="json") for code, text in class_texts.meanings(TASKS["skin"]).items()}
    assert json.loads(json.dumps(texts)) == texts
    assert tuple(texts) == TASKS["skin"].codes
    assert texts["mel"].keys() == {"urgency", "plain", "what", "next_step", "sources"}
    assert texts["mel"]["urgency"] == "urgent"
    assert texts["mel"]["sources"][0]["url"] == "https://www.nice.org.uk/guidance/ng12"
