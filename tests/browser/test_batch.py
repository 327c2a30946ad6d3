"""Many images: rows, their CSV and their table; and the tab in the browser."""

import csv
import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import FilePayload, Page, expect

from src import score
from src.exports.csv_rows import columns
from src.exports.spreadsheet import Writer
from src.models import checkpoints
from src.models.gate import Verdict
from src.models.predictor import Predictor
from src.page.tabs import batch_tab
from src.page.views import batch_table
from src.pictures import archive
from src.results.gate_sentences import sentence
from src.service import batch
from src.service.batch import BatchRefused, Row
from src.service.worker_pool import TOO_LONG, Models, Work, WorkFailed
from src.tasks import TASKS
from tests.support import synthetic_checkpoints
from tests.support.app import ROOT, Server
from tests.support.event_loop import run

TASK = TASKS["breastmnist"]
EXAMPLES = sorted((ROOT / "examples" / "breastmnist").glob("*"))
NASTY = "<img src=x onerror=alert(1)>.png"


def packed(folder: Path, further: Mapping[str, bytes] = MappingProxyType({})) -> tuple[str, str]:
    """A zip of the examples and `further` files, as a path and the name it goes by."""
    name = "ward.zip"
    with zipfile.ZipFile(folder / name, "w") as out:
        for file in EXAMPLES:
            out.write(file, f"a/{file.name}")
        for member, content in further.items():
            out.writestr(member, content)
    return str(folder / name), name


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = synthetic_checkpoints.write(tmp_path_factory.mktemp("checkpoint"), TASK.name)
    return {TASK.name: Predictor(checkpoints.load(TASK.name, folder))}


def read(models: Models, *files: tuple[str, str], threshold: float = 0.3) -> list[Row]:
    return batch.read(models, TASK.name, batch.items(models, files), threshold)


def test_rows_and_csv_are_those_of_score(models: Models, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no picture")
    (tmp_path / "=1+1.png").write_bytes(EXAMPLES[0].read_bytes())
    loose = [*EXAMPLES, tmp_path / "note.txt"]
    rows = read(models, *((str(path), str(path)) for path in loose), (str(tmp_path / "=1+1.png"), "=1+1.png"))
    out = io.StringIO()
    writer = Writer(out, columns(TASK))
    for one in score.score(models[TASK.name], [(str(path), None) for path in loose], 0.3):
        writer.write(one)
    *lines, last = batch.as_csv(TASK, rows, 0.3).splitlines()
    expected = out.getvalue().splitlines()
    assert [re.sub(r"\d\.\d+", "", line) for line in lines] == [re.sub(r"\d\.\d+", "", line) for line in expected]
    for one, other in zip(csv.DictReader(lines), csv.DictReader(expected), strict=True):
        if not one["error"]:
            # score reads in batches, whose last digits differ
            assert float(one["p_malignant"]) == pytest.approx(float(other["p_malignant"]), abs=2e-6)
    assert last.startswith('"./=1+1.png",'), "no formula for a spreadsheet"


def test_the_numbers_are_the_predictors(models: Models, tmp_path: Path) -> None:
    rows = read(models, packed(tmp_path))
    assert [row.p_malignant for row in rows] == [models[TASK.name].predict(file).p_malignant for file in EXAMPLES]
    assert [row.line["path"] for row in rows] == [f"ward.zip/a/{file.name}" for file in EXAMPLES]


def test_a_threshold_of_a_p_itself_refers(models: Models, tmp_path: Path) -> None:
    rows = read(models, packed(tmp_path))
    p = rows[0].p_malignant
    assert p is not None
    for threshold, decision in ((p, "refer"), (p + 1e-9, "no referral")):
        first = next(csv.DictReader(batch.as_csv(TASK, rows, threshold).splitlines()))
        assert first["decision"] == decision


def test_bad_files_have_their_reason_and_the_rest_is_read(models: Models, tmp_path: Path) -> None:
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04cut")
    (tmp_path / "empty.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    (tmp_path / "large.zip").write_bytes(b"PK\x03\x04" + bytes(13_000_000))
    bad = [(str(tmp_path / f"{name}.zip"), f"{name}.zip") for name in ("cut", "empty", "large", "gone")]
    member = {"../x.png": b"x", "letter.txt": b"dear", "bomb.png": b""}
    rows = read(models, *bad, packed(tmp_path, member), (str(EXAMPLES[0]), "bad\nname\u202e.png"))
    errors = {row.line["path"]: row.line["error"] for row in rows if row.p_malignant is None}
    assert errors["cut.zip"] == archive.DAMAGED
    assert errors["empty.zip"] == batch.EMPTY
    assert errors["large.zip"] == batch.TOO_LARGE
    assert errors["gone.zip"] == "The file could not be opened."
    assert errors["ward.zip/../x.png"] == archive.OUTSIDE
    assert "not a picture" in errors["ward.zip/letter.txt"]
    assert "empty" in errors["ward.zip/bomb.png"]
    assert len(rows) == len(errors) + len(EXAMPLES) + 1
    assert rows[-1].line["path"] == "bad\\nname\\u202e.png"


def test_too_many_or_too_much_is_refused_whole(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = packed(tmp_path)
    monkeypatch.setattr(batch, "MAX_PICTURES", 2 * len(EXAMPLES))
    assert len(batch.items(models, [one, one])) == 2 * len(EXAMPLES)
    with pytest.raises(BatchRefused, match="more than 200 pictures"):
        batch.items(models, [one, one, one])
    monkeypatch.setattr(batch, "MAX_LISTED", len(EXAMPLES) - 1)
    with pytest.raises(BatchRefused, match="files"):
        batch.items(models, [one])
    monkeypatch.undo()
    monkeypatch.setattr(batch, "MAX_SUM", 1000)
    with pytest.raises(BatchRefused, match="MB"):
        batch.items(models, [one])


def test_what_a_browser_keeps_comes_back_or_is_refused(models: Models, tmp_path: Path) -> None:
    rows = read(models, packed(tmp_path))
    kept = json.loads(json.dumps(batch.kept(rows)))
    assert "thumbnail" not in kept[0]
    assert batch.as_csv(TASK, batch.again(kept), 0.5) == batch.as_csv(TASK, rows, 0.5)
    whole = {**kept[0], "p_malignant": 1}  # JavaScript writes 1.0 so
    assert batch.again([whole])[0].p_malignant == 1
    wrong: list[object] = [
        None,
        "x",
        [5],
        [{}],
        [{**kept[0], "p_malignant": 2}],
        [{**kept[0], "p_malignant": float("nan")}],
        [{**kept[0], "line": {"path": 5}}],
        kept * 1000,
    ]
    for bad in wrong:
        with pytest.raises(BatchRefused):
            batch.again(bad)
    with pytest.raises(BatchRefused):
        batch.as_csv(TASKS["skin"], batch.again(kept), 0.5)


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
    shown = batch_table.table(TASK, rows, 0.3)
    order = [shown.index(name) for name in ("&lt;img", "middle.png", "low.png", "cat.png", "gone.png")]
    assert order == sorted(order)
    assert re.findall(r'data-decision="([^"]+)"', shown) == ["refer", "refer", "no referral"]
    assert "<b data-referred>2</b> of <b>3</b>" in shown
    assert "<img src=x" not in shown
    assert "&lt;b&gt;Dark" in shown
    assert "no &lt;ultrasound&gt;" in shown
    assert "99.0%" not in shown, "no probability beside what is no such picture"


def test_what_is_no_such_picture_says_so(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Predictor, "_verdicts", lambda _, prepared, __: [Verdict(9, 1)] * len(prepared))
    rows = read(models, packed(tmp_path))
    assert {one.unlike for one in rows} == {sentence(TASK)}
    assert "No image has an answer" in batch_table.table(TASK, rows, 0.3)


class Slow(Work):
    """Loses every piece of work with more than one picture, and the last example."""

    async def call(self, function: Any, *arguments: Any, **_: Any) -> Any:
        if function is batch.read:
            assert len(arguments[1]) <= batch.AT_ONCE
            if len(arguments[1]) > 1 or arguments[1][0].name.endswith(EXAMPLES[-1].name):
                raise WorkFailed(TOO_LONG)
        return function(self.models, *arguments)


def test_what_takes_too_long_together_is_read_alone(models: Models, tmp_path: Path) -> None:
    with gr.Blocks() as page:
        batch_tab.batch_tab(Slow(models))
    (read_all,) = (function.fn for function in page.fns.values() if function.name == "read")
    assert read_all
    path, name = packed(tmp_path)
    steps: list[tuple[int, int]] = []
    files = [{"path": path, "orig_name": name}]
    reading = read_all(files, TASK.name, 0.3, lambda step, **_: steps.append(step))
    _, shown, kept, _ = run(reading)
    assert [row["p_malignant"] is None for row in kept] == [file == EXAMPLES[-1] for file in EXAMPLES]
    assert TOO_LONG in shown
    assert steps[0] == (0, len(EXAMPLES))
    assert Path(path).exists(), "somebody else may have uploaded the same, and still read it"


def test_a_zip_and_a_picture_in_the_browser(page: Page, server: Server, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Many images").click()
    panel = page.get_by_role("tabpanel").filter(has=page.get_by_role("heading", name="Many images"))
    panel.get_by_role("button", name="Read all").click()
    expect(panel.get_by_role("alert")).to_contain_text(batch_tab.NO_PICTURES)
    panel.get_by_text(TASK.title, exact=False).first.click()
    path, name = packed(tmp_path, {NASTY: EXAMPLES[0].read_bytes(), "../x.png": b"x"})
    files = [
        FilePayload(name=name, mimeType="application/zip", buffer=Path(path).read_bytes()),
        FilePayload(name="loose of ward nine.png", mimeType="image/png", buffer=EXAMPLES[0].read_bytes()),
    ]
    panel.locator("input[type=file]").first.set_input_files(files)
    expect(panel.get_by_text("loose of ward nine")).to_be_visible()
    panel.get_by_role("button", name="Read all").click()
    rows = panel.locator("tr[data-p]")
    expect(rows).to_have_count(len(EXAMPLES) + 2)
    values = [float(p) for p in rows.evaluate_all("rows => rows.map(row => row.dataset.p)")]
    assert values == sorted(values, reverse=True)
    expect(panel.locator(".v-batch").get_by_text(archive.OUTSIDE)).to_be_visible()
    assert panel.locator(".v-batch img[src=x]").count() == 0
    assert rows.first.locator("img").evaluate("image => image.naturalWidth") > 0
    assert not re.search(r"\bward\b", server.log.read_text())

    panel.get_by_role("spinbutton").fill(str(values[1]))
    referred = sum(p >= values[1] for p in values)
    expect(panel.locator("[data-referred]")).to_have_text(str(referred))
    decisions = [rows.nth(at).locator(".v-decided") for at in (0, -1)]
    for decision, word in zip(decisions, ("Refer", "No referral"), strict=True):
        expect(decision).to_have_text(word, use_inner_text=True)
    with page.expect_download() as download:
        panel.get_by_role("button", name="Save as CSV").click()
    assert re.fullmatch(r"vigil-breastmnist-[\d-]+\.csv", download.value.suggested_filename)
    download.value.save_as(tmp_path / "saved.csv")
    with (tmp_path / "saved.csv").open(newline="", encoding="utf-8") as lines:
        table = csv.DictReader(lines)
        assert list(table.fieldnames or ()) == columns(TASK)
        found = list(table)
    assert sum(line["decision"] == "refer" for line in found) == referred
    assert [line["error"] for line in found if line["error"]] == [archive.OUTSIDE]
