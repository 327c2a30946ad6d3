"""python -m src.score --out: parts, continuation, refusals, shards and the proof that every image has one row."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from pydicom import uid

from src import score
from src.scale import ledger, local_engine, parts
from src.scale.addresses import StoreError
from src.scale.store import Store
from tests.support import dicom_files, slide_files, synthetic_checkpoints
from tests.support.app import ROOT
from tests.support.scale_runs import InlineProcess, files, rows
from tests.support.scoring import picture, read
from tests.unit.scale.conftest import Run


def test_rows_are_those_of_the_csv(
    run: Run, images: Path, tmp_path: Path, made_checkpoint: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    out, plain, ours = tmp_path / "out", tmp_path / "plain.csv", tmp_path / "ours.csv"
    odd = picture(tmp_path / '=a\nb,"c" ü.png')
    assert run(images, odd, "--out", out, "--csv", ours) == 1
    weights = made_checkpoint("breastmnist")
    assert score.main(["breastmnist", str(images), str(odd), "--weights", weights, "--csv", str(plain)]) == 1
    for one, other in zip(*(sorted(read(file), key=lambda row: row["path"]) for file in (ours, plain)), strict=True):
        assert list(one) == list(other)
        for column in ("p_malignant", "p_benign"):
            # Batches of other images differ by rounding errors.
            assert re.fullmatch(r"([01]\.\d{6})?", one[column])
            assert float(one.pop(column) or -1) == pytest.approx(float(other.pop(column) or -1), abs=2e-6)
        assert one == other
    assert len(files(out)) == 4
    manifest = json.loads((out / "_manifest.json").read_text())
    assert (manifest["rows"], manifest["errors"], manifest["inputs"]["count"]) == (12, 1, 12)
    printed = capsys.readouterr().err
    assert "12 rows, 1 with an error, in 4 parts" in printed
    assert "1 of 12 images failed" in printed
    by_path = {row["path"]: row for row in rows(out)}
    assert by_path[str(images / "broken.png")]["p_malignant"] is None
    assert isinstance(by_path[str(images / "1.png")]["p_malignant"], float)


def test_dicom_and_slides_are_treated_as_in_the_csv(
    run: Run, tmp_path: Path, made_checkpoint: Callable[[str], str]
) -> None:
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    frames = [dicom_files.drawn(160, 128 + number) for number in (0, 0, 0)]
    syntax = uid.ExplicitVRLittleEndian
    (folder / "image without a suffix").write_bytes(dicom_files.of_image(frames[0], "RGB", syntax))
    (folder / "cine.dcm").write_bytes(
        dicom_files.of_frames(frames, "RGB", syntax, SOPClassUID=dicom_files.ULTRASOUND_CINE)
    )
    (folder / "ct.dcm").write_bytes(dicom_files.of_image(frames[0], "RGB", syntax, Modality="CT"))
    slide_files.write(folder / "slide.tif", np.full((6_000, 12_000, 3), 230, np.uint8), 0.5, (1, 4))
    assert run(folder, "--out", out, "--csv", tmp_path / "ours.csv") == 1
    plain = tmp_path / "plain.csv"
    weights = made_checkpoint("breastmnist")
    assert score.main(["breastmnist", str(folder), "--weights", weights, "--csv", str(plain)]) == 1
    ours, theirs = ({row["path"]: row for row in read(file)} for file in (tmp_path / "ours.csv", plain))
    assert ours.keys() == theirs.keys()
    assert len(ours) == 4
    for path, row in ours.items():
        for column, value in row.items():
            if column.startswith("p_") and value:
                assert float(value) == pytest.approx(float(theirs[path][column]), abs=2e-6)
            else:
                assert value == theirs[path][column]
    assert sum(bool(row["error"]) for row in ours.values()) == 2


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the threads of a process are listed on Linux alone")
def test_pyarrow_reads_parts_without_threads(run: Run, images: Path, tmp_path: Path) -> None:
    # With its threads, some commands that ended soon after reading, such as --verify, were aborted on a busy machine.
    run(images, "--out", tmp_path / "out")
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from src.scale import parts\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "for file in Path(sys.argv[1]).glob('*.parquet'):\n"
        "    assert parts.table_of(file.read_bytes())\n"
        "print(len(os.listdir('/proc/self/task')) - before)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "out")]
    assert subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout == "0\n"


def test_a_run_continues_with_what_is_missing_or_not_whole(
    run: Run, images: Path, tmp_path: Path, scored: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(images, "--out", out)
    before = files(out)
    scored.clear()
    assert run(images, "--out", out) == 1  # the broken image is still an error, and is not read again
    assert scored == []
    assert "4 of 4 parts are there already" in capsys.readouterr().err

    first, second, third, _ = sorted(out.glob("*.parquet"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-100])
    damaged = bytearray(third.read_bytes())
    damaged[100] ^= 255  # the footer is whole, and a page is not
    third.write_bytes(damaged)
    (out / ".part-of-a-killed-process.unfinished").write_bytes(b"half")
    assert run(images, "--out", out) == 1
    assert sorted(scored) == sorted(file.name for file in (first, second, third))
    assert files(out) == before
    assert {file.name for file in out.iterdir()} == {*before, "_run.json", "_manifest.json"}


def test_another_run_in_the_same_folder_is_refused(
    run: Run, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(images, "--out", out)
    before = files(out)
    other = synthetic_checkpoints.write(tmp_path / "other", "breastmnist", seed=1)
    cooler = synthetic_checkpoints.write(tmp_path / "cooler", "breastmnist", temperature=1.1)
    picture(images / "new.png", 11)
    for arguments, differs in (
        ([images], "inputs"),
        ([images / "1.png"], "inputs"),
        ([images, "--weights", other], "weights"),
        ([images, "--weights", cooler], "weights"),
        ([images, "--threshold", "0.123"], "threshold"),
    ):
        capsys.readouterr()
        assert run(*arguments, "--out", out) == 1
        refusal = capsys.readouterr().err.splitlines()[-1]
        assert "has the results of another run, which differs in" in refusal
        assert differs in refusal
    assert files(out) == before


def test_a_folder_with_other_parquet_files_is_refused(run: Run, images: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.parquet").write_bytes(b"mine")
    assert run(images, "--out", tmp_path) == 1
    assert {file.name for file in tmp_path.iterdir()} == {"images", "mine.parquet"}


def test_shards_write_the_parts_of_one_run(
    run: Run, images: Path, tmp_path: Path, scored: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    run(images, "--out", whole)
    scored.clear()
    for shard in ("2/3", "1/3", "3/3"):
        assert not (shared / "_manifest.json").exists()
        run(images, "--out", shared, "--shard", shard)
    assert len(scored) == len(set(scored)) == 4
    assert files(shared) == files(whole)
    assert (shared / "_manifest.json").read_bytes() == (whole / "_manifest.json").read_bytes()
    assert "The last shard closes the folder" in capsys.readouterr().err


def test_more_shards_than_parts_leave_some_with_nothing_to_do(run: Run, images: Path, tmp_path: Path) -> None:
    for number in range(1, 7):
        assert run(images, "--out", tmp_path / "out", "--shard", f"{number}/6") in (0, 1)
    assert score_verify(tmp_path / "out") == 0


def test_the_last_shard_may_be_closed_by_the_command_without_shard(
    run: Run, images: Path, tmp_path: Path, scored: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    # A store that lists late shows neither shard the parts of the other.
    with monkeypatch.context() as late:
        late.setattr(Store, "names", lambda *_: set())
        for shard in ("1/2", "2/2"):
            run(images, "--out", out, "--shard", shard)
    assert not (out / "_manifest.json").exists()
    scored.clear()
    run(images, "--out", out)
    assert scored == []
    assert score_verify(out) == 0


def score_verify(folder: Path) -> int:
    with pytest.raises(SystemExit) as ended:
        score.main(["--verify", str(folder)])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_verify_proves_a_run_and_finds_every_difference(
    run: Run, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(images, "--out", out)
    capsys.readouterr()
    assert score_verify(out) == 0
    assert "one row for each of the 11 images" in capsys.readouterr().err

    first, second, *_ = sorted(out.glob("*.parquet"))
    manifest = (out / "_manifest.json").read_text()

    def damage(change: Callable[[Path], object], said: str) -> None:
        kept = tmp_path / "kept"
        shutil.copytree(out, kept)
        change(out)
        assert score_verify(out) == 1
        assert said in capsys.readouterr().err
        shutil.rmtree(out)
        kept.rename(out)

    def rewritten(folder: Path) -> None:
        # Whole and well-formed, with a score that no run computed.
        table = pyarrow.parquet.read_table(folder / first.name)
        scores = [None if value is None else 1 - value for value in table["p_malignant"].to_pylist()]
        index = table.column_names.index("p_malignant")
        changed = table.set_column(index, table.schema.field(index), pyarrow.array(scores))
        pyarrow.parquet.write_table(changed, folder / first.name)

    def twice(folder: Path) -> None:
        parts = json.loads(manifest)
        parts["parts"].append(parts["parts"][0])
        (folder / "_manifest.json").write_text(json.dumps(parts))

    damage(lambda folder: (folder / first.name).unlink(), "is missing or not whole")
    damage(lambda folder: (folder / first.name).write_bytes(b"PAR1"), "is missing or not whole")
    damage(lambda folder: shutil.copy(folder / first.name, folder / second.name), "is missing or not whole")
    damage(lambda folder: (folder / "part-0.parquet").write_bytes(b""), "part-0.parquet is not in the manifest")
    damage(rewritten, "is not the file that the manifest describes")
    damage(
        lambda folder: (folder / "_manifest.json").write_text(manifest.replace('"threshold": 0.3', '"threshold": 0.4')),
        "has other paths, weights or arguments than its name says",
    )
    damage(
        lambda folder: (folder / "_manifest.json").write_text(manifest.replace('"count": 11', '"count": 12')),
        "The paths of the rows are not those of the run's images",
    )
    damage(lambda folder: (folder / "_manifest.json").unlink(), "The same command as before continues the run")
    damage(lambda folder: (folder / "_manifest.json").write_text("{"), "_manifest.json is damaged")
    assert score_verify(out) == 0
    assert score_verify(tmp_path / "nowhere") == 1


def test_a_store_that_fails_leaves_parts_for_the_next_run(
    run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    written = Store.write

    def full(store: Store, file: str, content: bytes) -> None:
        if file.startswith("part") and len(files(out)) == 2:
            raise StoreError("The disk is full.")
        written(store, file, content)

    class Failing(InlineProcess):
        def score(self, part: parts.Part) -> parts.Written:
            try:
                return super().score(part)
            except StoreError as error:
                raise local_engine.PartFailed(str(error)) from None

    with monkeypatch.context() as failing:
        failing.setattr(Store, "write", full)
        failing.setattr(local_engine, "ScoringProcess", Failing)
        assert run(images, "--out", out) == 1
    printed = capsys.readouterr().err
    assert "a part is left: The disk is full." in printed
    assert "2 of 4 parts are left" in printed
    assert not (out / ledger.MANIFEST).exists()
    assert run(images, "--out", out) == 1
    assert score_verify(out) == 0


def test_an_interrupt_says_what_is_left(
    run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"

    def interrupted(*arguments: object) -> object:
        outcomes = local_engine_score(*arguments)  # type: ignore[arg-type]
        yield next(outcomes)
        raise KeyboardInterrupt

    local_engine_score = local_engine.score_parts
    with monkeypatch.context() as ctrl_c:
        ctrl_c.setattr(local_engine, "score_parts", interrupted)
        assert run(images, "--out", out) == 130
    assert "interrupted; 3 of 4 parts with 8 images are left" in capsys.readouterr().err
    assert run(images, "--out", out) == 1
    assert score_verify(out) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shard", "1/2"], "--shard needs --out"),
        (["--engine", "ray"], "--engine needs --out"),
        (["--out", "o", "--shard", "3/2"], "is not I/N"),
        (["--out", "o", "--shard", "0/2"], "is not I/N"),
        (["--out", "o", "--workers", "0"], "is not a whole number from 1"),
        (["--out", "o", "--frames"], "excludes --frames"),
        (["--out", "o", "--dicom", "d"], "excludes --dicom"),
        (["--out", "o", "--address", "auto"], "--address needs --engine ray"),
        (["dicomweb://host/studies/1", "--out", "o"], "read without --out"),
    ],
)
def test_arguments_that_exclude_each_other(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        score.main(["breastmnist", "a.png", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_without_ray_its_engine_says_how_to_install_it(
    run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    assert run(images, "--out", tmp_path / "out", "--engine", "ray") == 1
    assert "python -m pip install -r requirements-scale.txt" in capsys.readouterr().err
