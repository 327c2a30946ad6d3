"""The meaning of each class on the page: src/page/views/class_meanings.py."""

import pytest

from src.page.views import class_meanings
from src.results import class_texts
from src.results.class_texts import CLASS_TEXTS, ClassText, Source
from src.tasks import TASKS
from tests.support.markup import parse
from tests.support.synthetic_results import result


@pytest.mark.parametrize("task", TASKS)
def test_every_class_is_shown_and_the_most_probable_one_open(task: str) -> None:
    shown = parse(class_meanings.class_meanings(result(task)))
    entries = shown.find("details")
    assert ["open" in entry.attributes for entry in entries] == [True] + [False] * (len(entries) - 1)
    assert f"{result(task).confidence} confidence" in shown.text
    for entry, diagnosis in zip(entries, TASKS[task].classes, strict=True):
        meaning, (word, bars) = CLASS_TEXTS[task][diagnosis.code], class_texts.URGENCIES[diagnosis.urgency]
        assert entry.one(classes="v-tag").text == ("malignant" if diagnosis.malignant else "not malignant")
        urgency = entry.one(classes=f"v-urgency v-{diagnosis.urgency}")
        assert urgency.text == word
        assert len(urgency.find("i", "v-full")) == bars
        assert len(urgency.find("i")) == class_texts.BARS
        assert entry.values("href") == [source.url for source in meaning.sources]
        assert {link.attributes["rel"] for link in entry.find("a")} == {"noopener noreferrer"}
        assert meaning.next_step in entry.text


def test_markup_in_a_text_is_inert(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = ClassText(
        plain="<b>x",
        what="<script>alert(1)</script>",
        next_step='"><img>',
        sources=(Source(title="<i>", url='"><script>'),),
    )
    monkeypatch.setattr(class_meanings, "CLASS_TEXTS", {"skin": dict.fromkeys(TASKS["skin"].codes, evil)})
    shown = parse(class_meanings.class_meanings(result("skin")))
    assert not shown.find("script")
    assert not shown.find("img")
    assert "<script>alert(1)</script>" in shown.text
    assert shown.find("a")[0].attributes["href"] == '"><script>'
