"""The table of many pictures, and how their tab reads them."""

import re
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from src.models.prediction import Verdict
from src.models.predictor import Predictor
from src.page.tabs import batch_tab
from src.page.views import batch_table
from src.results.gate_sentences import sentence
from src.service import batch
from src.service.batch import BatchRefused, Row
from src.service.model_loading import Models
from src.service.worker_pool import TOO_LONG, ThreadWorkerPool, WorkFailed
from tests.support.batches import EXAMPLES, NASTY, TASK, packed, read
from tests.support.event_loop import run


def row(name: str, p: float | None, unlike: str | None = None, **line: str) -> Row:
    said = {"path": name, "prediction": "malignant", "quality": "", **line}
    return Row(
        line=said if p is not None else {"path": name, "error": "Not read at all."}, p_malignant=p, unlike=unlike
    )


def test_the_table_is_sorted_escaped_and_says_what_it_leaves_out() -> None:
    rows = [
        row("low.png", 0.1, quality="<b>Dark.</b>"),
        row(NASTY, 0.9),
        row("cat.png", 0.99, unlike="This is no <ultrasound>."),
        row("gone.png", None),
        row("middle.png", 0.3),
    ]
    shown = batch_table.table(TASK, rows, [(0, at) for at in range(len(rows))], 0.3)
    order = [shown.index(name) for name in ("&lt;img", "middle.png", "low.png", "cat.png", "gone.png")]
    assert order == sorted(order)
    assert re.findall(r'data-decision="([^"]+)"', shown) == ["refer", "refer", "no referral"]
    assert "<b data-referred>2</b> of <b>3</b>" in shown
    assert "<img src=x" not in shown
    assert "&lt;b&gt;Dark" in shown
    assert "no &lt;ultrasound&gt;" in shown
    assert re.findall(r'title="[^"]+: ([1-9])"></i>', shown) == ["1", "1", "1"], "the bars of the histogram"
    assert "99.0%" not in shown, "no probability beside an image of another kind"


def test_an_image_of_another_kind_says_so(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Predictor, "_verdicts", lambda _, prepared, __: [Verdict(9, 1)] * len(prepared))
    rows = read(models, packed(tmp_path))
    assert {one.unlike for one in rows} == {sentence(TASK)}
    assert "no answer" in batch_table.table(TASK, rows, [(0, None)] * len(rows), 0.3)


class Slow(ThreadWorkerPool):
    """Loses every piece of work with more than one picture, and the last example."""

    async def call(self, function: Any, *arguments: Any, **_: Any) -> Any:
        if function is batch.read_items:
            assert len(arguments[1]) <= batch.CHUNK_SIZE
            if len(arguments[1]) > 1 or arguments[1][0].name.endswith(EXAMPLES[-1].name):
                raise WorkFailed(TOO_LONG)
        return function(self._models, *arguments)


def test_what_takes_too_long_together_is_read_alone(models: Models, tmp_path: Path) -> None:
    with gr.Blocks() as page:
        batch_tab.batch_tab(Slow(models))
    (read_all,) = (function.fn for function in page.fns.values() if function.name == "read")
    assert read_all
    path, name = packed(tmp_path)
    steps: list[tuple[int, int]] = []
    files = [{"path": path, "orig_name": name}]
    reading = read_all(files, TASK.name, 0.3, None, lambda step, **_: steps.append(step))
    _, _, shown, kept, _ = run(reading)
    assert [row["p_malignant"] is None for row in kept] == [file == EXAMPLES[-1] for file in EXAMPLES]
    assert TOO_LONG in shown
    assert steps[0] == (0, len(EXAMPLES))
    assert Path(path).exists(), "somebody else may have uploaded the same, and still read it"


def test_a_zip_gives_the_image_that_is_opened(models: Models, tmp_path: Path) -> None:
    path, name = packed(tmp_path, {"../outside.png": b"x"})
    items = batch.items(models, [(path, name)])
    for item, example in zip(items[:-1], EXAMPLES, strict=True):
        assert item.member is not None
        found, content = batch.member_file(models, path, item.member)
        assert content == example.read_bytes()
        assert found == "image.png"
    for member in (items[-1].member or 0, 10**6):
        with pytest.raises(BatchRefused):
            batch.member_file(models, path, member)
