"""python -m src.score: columns, rows, errors, exit status, interruption and continuation."""

import csv
import os
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from src import score
from src.exports import csv_rows
from src.models.checkpoints import load
from src.models.predictor import Predictor
from src.pictures import decode, folder
from src.pictures.picture import Picture
from src.results.gate_sentences import all_warnings
from src.tasks import TASKS
from tests.support.scoring import picture, read

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("task", TASKS)
def test_columns_and_values(
    task: str, made_checkpoint: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = picture(tmp_path / "a.png"), tmp_path / "out.csv"
    assert score.main([task, str(file), "--weights", made_checkpoint(task), "--csv", str(out)]) == 0
    codes = [code for code in TASKS[task].codes if code != "malignant"]
    header = ["path", "p_malignant", "decision", "prediction", *(f"p_{code}" for code in codes), "quality", "error"]
    (row,) = read(out)
    assert list(row) == header

    checkpoint = load(task, made_checkpoint(task))
    prediction = Predictor(checkpoint).predict(file)
    assert row["path"] == str(file)
    assert float(row["p_malignant"]) == pytest.approx(prediction.p_malignant, abs=1e-5)
    for code, p in zip(TASKS[task].codes, prediction.probabilities, strict=True):
        assert float(row[f"p_{code}"]) == pytest.approx(p, abs=1e-5)
        assert re.fullmatch(r"[01]\.\d{6}", row[f"p_{code}"])
    assert row["prediction"] == TASKS[task].codes[prediction.top]
    refers = prediction.p_malignant >= checkpoint.config.vigil.default_threshold
    assert row["decision"] == ("refer" if refers else "no referral")
    assert row["quality"] == "; ".join(all_warnings(prediction))
    assert row["error"] == ""
    assert f"{task}: 100%" in capsys.readouterr().err


def test_folder_is_searched_and_bad_files_get_a_row(
    made_checkpoint: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "in"
    good = ["b.JPG", "a/c.jpeg", "a/d.Png", "a/b/e.webp", "a/b/f.tif", "g.TIFF", "h.bmp", ".hidden/i.png", "j.gif"]
    for i, name in enumerate(good):
        picture(images / name, i)
    (images / "notes.txt").write_text("no picture")
    (images / "broken.jpg").write_bytes(b"no picture")
    (images / "loop").symlink_to(images)
    (images / "gone.png").symlink_to(tmp_path / "nowhere")
    out = tmp_path / "out.csv"
    missing, odd = tmp_path / "missing.png", 'a\nb,"c" ü.png'
    paths = [images, missing, picture(tmp_path / odd), images / "b.JPG"]
    arguments = [*map(str, paths), "--weights", made_checkpoint("histopathology"), "--csv", str(out)]
    assert score.main(["histopathology", *arguments]) == 1
    rows = read(out)
    assert [row["path"] for row in rows] == [
        *sorted(str(images / name) for name in [*good, "broken.jpg", "gone.png"]),
        str(missing),
        str(tmp_path / odd),
    ]
    failed = {Path(row["path"]).name for row in rows if row["error"]}
    assert failed == {"broken.jpg", "gone.png", "missing.png"}
    for row in rows:
        assert bool(row["p_malignant"]) == bool(row["decision"]) == (not row["error"])
    printed = capsys.readouterr().err
    assert "3 of 13 failed" in printed
    assert f"1 left out ({images / 'notes.txt'}): Not an image." in printed
    assert f"1 left out ({images / 'loop'}): A link to a folder is not followed." in printed


def test_pictures_are_found_by_content_and_what_is_none_is_no_failure(
    made_checkpoint: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = tmp_path / "in", tmp_path / "out.csv"
    names = ["a.jpg", "b.jfif", "c.JPE", "d.HEIC", "e", "f.jpg "]
    for i, name in enumerate(names):
        picture(images / name, i)
    (images / "labels.csv").write_text("BMI,label\n21,benign\n")  # begins as a BMP does
    (images / "notes").write_text("two lesions")
    for name in ("._a.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/._a.jpg", "__MACOSX/a.jpg"):
        (images / name).parent.mkdir(exist_ok=True)
        (images / name).write_bytes(b"\0\5\x16\7")
    arguments = [str(images), "--weights", made_checkpoint("breastmnist"), "--csv", str(out)]
    assert score.main(["breastmnist", *arguments]) == 0
    rows = read(out)
    assert [row["path"] for row in rows] == [str(images / name) for name in names]
    assert all(row["p_malignant"] and not row["error"] for row in rows)
    printed = capsys.readouterr().err
    assert f"2 left out ({images / 'labels.csv'}, {images / 'notes'}): Not an image." in printed
    assert printed.count("left out") == 1


def test_many_batches_keep_their_order(made_checkpoint: Callable[[str], str], tmp_path: Path) -> None:
    for i in range(75):
        picture(tmp_path / f"{i:02}.png", i, side=40)
    (tmp_path / "33.png").write_bytes(b"")
    predictor = Predictor(load("breastmnist", made_checkpoint("breastmnist")))
    rows = list(score.score(predictor, folder.find([str(tmp_path)]).entries, 0.5))
    assert [Path(row["path"]).name for row in rows] == [f"{i:02}.png" for i in range(75)]
    assert [i for i, row in enumerate(rows) if row.get("error")] == [33]
    for i in (0, 31, 32, 34, 74):
        alone = predictor.predict(tmp_path / f"{i:02}.png").p_malignant
        assert float(rows[i]["p_malignant"]) == pytest.approx(alone, abs=1e-5)


def test_folder_without_a_picture_is_said(made_checkpoint: Callable[[str], str], tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    (tmp_path / "empty").mkdir()
    arguments = [str(tmp_path / "empty"), "--weights", made_checkpoint("breastmnist"), "--csv", str(out)]
    assert score.main(["breastmnist", *arguments]) == 1
    assert [(row["path"], row["error"]) for row in read(out)] == [
        (str(tmp_path / "empty"), "There is no image in this folder.")
    ]


@pytest.mark.parametrize("name", ["=1+1.png", "+1.png", "-1.png", "@a.png", "\ta.png", "\ra.png"])
def test_no_path_reads_as_a_formula_and_each_still_names_its_file(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    picture(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    ((path, error),) = folder.find(["."]).entries
    written = csv_rows.row(TASKS["skin"], path, error or "Not read.", 0.5)["path"]
    assert written == f"./{name}"
    assert Path(written).samefile(tmp_path / name)


def test_name_that_is_not_utf8_leaves_the_csv_readable(made_checkpoint: Callable[[str], str], tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    picture(tmp_path / "in" / name)
    out = tmp_path / "out.csv"
    arguments = [str(tmp_path / "in"), "--weights", made_checkpoint("breastmnist"), "--csv", str(out)]
    assert score.main(["breastmnist", *arguments]) == 0
    assert Path(read(out)[0]["path"]).name == "\\udcff.png"


def test_weights_asked_for_are_used_or_refused(
    made_checkpoint: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.csv"
    out.write_text("of an earlier run\n")
    for asked in (made_checkpoint("skin"), str(tmp_path), str(tmp_path / "nowhere"), ""):
        arguments = [str(picture(tmp_path / "a.png")), "--weights", asked, "--csv", str(out)]
        assert score.main(["breastmnist", *arguments]) == 1
        printed = capsys.readouterr()
        assert printed.err.startswith("score: ")
        assert printed.err.count("\n") == 1
        assert printed.out == ""
    assert out.read_text() == "of an earlier run\n"


def test_fallback_to_the_embedded_weights_is_said(
    made_checkpoint: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("src.models.checkpoint_info.EMBEDDED", Path(made_checkpoint("breastmnist")).parent)
    monkeypatch.setenv("VIGIL_WEIGHTS_BREASTMNIST", str(tmp_path / "nowhere"))
    file = picture(tmp_path / "a.png")
    assert score.main(["breastmnist", str(file), "--csv", str(tmp_path / "out.csv")]) == 0
    assert "The embedded default serves instead." in capsys.readouterr().err


def test_csv_that_cannot_be_written(
    made_checkpoint: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(picture(tmp_path / "a.png")), "--weights", made_checkpoint("breastmnist")]
    assert score.main(["breastmnist", *arguments, "--csv", str(tmp_path / "nowhere" / "out.csv")]) == 1
    assert "cannot be written: No such file or directory." in capsys.readouterr().err


RUN_AS_MODULE = 'import runpy; runpy.run_module("src.score", run_name="__main__", alter_sys=True)'


def run(arguments: list[str]) -> "subprocess.Popen[bytes]":
    # A shell's background job, and all it starts, ignores the interrupt that one test is about: Python then sets no
    # handler, so the child sets it by itself.
    program = f"import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); {RUN_AS_MODULE}"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"}
    )


@pytest.mark.slow
def test_command_writes_csv_alone_to_standard_output(made_checkpoint: Callable[[str], str], tmp_path: Path) -> None:
    name = picture(tmp_path / "ü.png")
    (tmp_path / "broken.JPG").write_bytes(b"no picture")
    process = run(["breastmnist", str(tmp_path), "--weights", made_checkpoint("breastmnist")])
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    rows = list(csv.DictReader(out.decode("utf-8").splitlines()))
    assert [row["path"] for row in rows] == [str(tmp_path / "broken.JPG"), str(name)]
    assert b"\r" not in out
    assert b"100%" in err
    assert b"Traceback" not in err


@pytest.mark.slow
def test_interrupt_leaves_whole_rows(made_checkpoint: Callable[[str], str], tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out.csv"
    first = picture(folder / "0000.png", side=400)
    for i in range(1, 2000):
        os.link(first, folder / f"{i:04}.png")
    process = run(["histopathology", str(folder), "--weights", made_checkpoint("histopathology"), "--csv", str(out)])
    deadline = time.monotonic() + 120
    while not (out.exists() and out.stat().st_size > 2000) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
    rows = read(out)
    assert 0 < len(rows) < 2000
    assert f"interrupted; {len(rows)} of 2000 rows".encode() in err
    assert all(row["decision"] and row["error"] == "" for row in rows)
    assert out.read_bytes().endswith(b"\n")


def test_big_pictures_do_not_pile_up(made_checkpoint: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    lock, alive, most = threading.Lock(), 0, 0

    def gone() -> None:
        nonlocal alive
        with lock:
            alive -= 1

    def read(*_: object) -> Picture:
        nonlocal alive, most
        image = Image.new("RGB", (300, 300), "grey")
        weakref.finalize(image, gone)
        with lock:
            alive += 1
            most = max(most, alive)
        return Picture(image, ())

    monkeypatch.setattr(decode, "read", read)
    predictor = Predictor(load("breastmnist", made_checkpoint("breastmnist")))
    taken = 0

    def paths() -> Iterator[str]:
        nonlocal taken
        for _ in range(300):
            taken += 1
            yield "a.png"

    answers = predictor.predict_many(paths(), batch_size=8)
    next(answers)
    assert taken <= 24, "read further ahead than two batches"
    assert len(list(answers)) == 299
    assert most <= 3


@pytest.mark.parametrize("unreadable", [0, 1])
def test_fast_prints_its_error_on_the_given_images(
    unreadable: int,
    made_checkpoint: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VIGIL_ENGINE", "openvino")
    images = [picture(tmp_path / f"{i}.png", i) for i in range(3)]
    for i in range(unreadable):
        (tmp_path / f"broken{i}.png").write_bytes(b"no picture")
    weights = made_checkpoint("breastmnist")
    arguments = ["breastmnist", str(tmp_path), "--weights", weights, "--csv"]
    assert score.main([*arguments, str(tmp_path / "fast.csv"), "--fast"]) == unreadable
    printed = capsys.readouterr().err
    found = re.search(
        r"^score: bfloat16 differs from float32 on 3 of the (\d) images: p_malignant by at most (0\.\d{4}) and by "
        r"(0\.\d{4}) on average; 0 decisions differ\.$",
        printed,
        re.MULTILINE,
    )
    assert found is not None, printed
    assert score.main([*arguments, str(tmp_path / "exact.csv")]) == unreadable
    assert "bfloat16" not in capsys.readouterr().err
    fast, exact = (
        {row["path"]: row["p_malignant"] for row in read(tmp_path / f"{name}.csv")} for name in ("fast", "exact")
    )
    errors = [abs(float(fast[str(path)]) - float(exact[str(path)])) for path in images]
    assert int(found[1]) == 3 + unreadable
    assert float(found[2]) == pytest.approx(max(errors), abs=1e-4)
    assert float(found[3]) == pytest.approx(sum(errors) / 3, abs=1e-4)


def test_fast_needs_openvino(
    made_checkpoint: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VIGIL_ENGINE", "torch")
    image = picture(tmp_path / "a.png", 0)
    assert score.main(["breastmnist", str(image), "--weights", made_checkpoint("breastmnist"), "--fast"]) == 2
    assert capsys.readouterr().err == "score: Only OpenVINO computes in bfloat16, and it does not run here.\n"


def test_a_scale_is_taken_for_a_task_that_has_one(
    made_checkpoint: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "in" / "tile.png", side=192)
    weights = ["--weights", made_checkpoint("histopathology"), "--csv", str(tmp_path / "out.csv")]
    whole: list[dict[str, str]] = []
    tiles: list[dict[str, str]] = []
    for given, rows in (([], whole), (["--mpp", "0.97"], tiles)):
        assert score.main(["histopathology", str(tmp_path / "in"), *weights, *given]) == 0
        rows += read(tmp_path / "out.csv")
    assert list(whole[0]) == list(tiles[0])
    assert "4 tiles of 93 µm" in tiles[0]["quality"]
    assert "tiles" not in whole[0]["quality"]
    for task, value, said in (
        ("histopathology", "352.8", "352.8 µm per pixel is not the scale of a microscope"),
        ("histopathology", "nan", "must be a number from 0.1 to 4"),
        ("skin", "0.25", "play no part in Skin lesions"),
    ):
        with pytest.raises(SystemExit) as stopped:
            score.main([task, str(tmp_path / "in"), "--mpp", value])
        assert stopped.value.code == 2
        assert said in capsys.readouterr().err
