"""Many pictures: their rows, and the CSV of these."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from src import score
from src.exports.csv_rows import columns
from src.exports.spreadsheet import Writer
from src.pictures import archive
from src.service import batch
from src.service.batch import BatchRefused
from src.service.model_loading import Models
from src.tasks import TASKS
from tests.support.batches import EXAMPLES, TASK, packed, read


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
    assert "not an image" in errors["ward.zip/letter.txt"]
    assert "empty" in errors["ward.zip/bomb.png"]
    assert len(rows) == len(errors) + len(EXAMPLES) + 1
    assert rows[-1].line["path"] == "bad\\nname\\u202e.png"


def test_too_many_or_too_much_is_refused_whole(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = packed(tmp_path)
    monkeypatch.setattr(batch, "MAX_IMAGES", 2 * len(EXAMPLES))
    assert len(batch.items(models, [one, one])) == 2 * len(EXAMPLES)
    with pytest.raises(BatchRefused, match="more than 200 images"):
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
    kept = json.loads(json.dumps(batch.dump_rows(rows)))
    assert "thumbnail" not in kept[0]
    assert batch.as_csv(TASK, batch.load_rows(kept), 0.5) == batch.as_csv(TASK, rows, 0.5)
    whole = {**kept[0], "p_malignant": 1}  # JavaScript writes 1.0 so
    assert batch.load_rows([whole])[0].p_malignant == 1
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
            batch.load_rows(bad)
    with pytest.raises(BatchRefused):
        batch.as_csv(TASKS["skin"], batch.load_rows(kept), 0.5)
