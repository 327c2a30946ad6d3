"""The meaning of each class on the page: src/page/views/class_meanings.py."""

import re

import pytest

from src.page.views import class_meanings
from src.results import class_texts
from src.results.class_texts import CLASS_TEXTS, ClassText, Source
from src.tasks import TASKS
from tests.support.synthetic_results import result


@pytest.mark.parametrize("task", TASKS)
def test_every_class_is_shown_and_the_most_probable_one_open(task: str) -> None:
    shown = class_meanings.class_meanings(result(task))
    entries = re.findall(r"<details.*?</details>", shown)
    assert len(entries) == len(TASKS[task].classes)
    assert [" open>" in entry for entry in entries] == [True] + [False] * (len(entries) - 1)
    assert f"{result(task).confidence} confidence" in shown
    for entry, diagnosis in zip(entries, TASKS[task].classes, strict=True):
        text, (word, bars) = CLASS_TEXTS[task][diagnosis.code], class_texts.URGENCIES[diagnosis.urgency]
        assert f">{'malignant' if diagnosis.malignant else 'not malignant'}<" in entry
        drawn = '<i class="v-full"></i>' * bars + "<i></i>" * (class_texts.BARS - bars)
        assert f'class="v-urgency v-{diagnosis.urgency}">{drawn} {word}<' in entry
        assert all(f'href="{source.url}" target="_blank" rel="noopener noreferrer"' in entry for source in text.sources)


def test_markup_in_a_text_is_inert(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = ClassText(
        plain="<b>x",
        what="<script>alert(1)</script>",
        next_step='"><img>',
        sources=(Source(title="<i>", url='"><script>'),),
    )
    monkeypatch.setattr(class_meanings, "CLASS_TEXTS", {"skin": dict.fromkeys(TASKS["skin"].codes, evil)})
    shown = class_meanings.class_meanings(result("skin"))
    assert not re.search(r"<(script|img)", shown)
    assert 'href="&quot;&gt;&lt;script&gt;"' in shown
