"""Processes that score: one that dies is replaced, and the image that kills it is named."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from src.models import checkpoints
from src.scale import ledger, local_engine, process, run
from src.scale.addresses import ScaleError
from src.scale.images import Image
from src.scale.inputs import Inputs
from src.scale.parts import Part, Written
from src.scale.process import Closed, PartFailed, ScoringProcess
from src.scale.store import Store
from src.scale.worker import Job, Scorer, fingerprint
from tests.support.scale_runs import Poison, Slow, files, rows
from tests.support.scoring import picture


@pytest.fixture
def model(made_checkpoint: Callable[[str], str]) -> run.Model:
    folder = made_checkpoint("breastmnist")
    return run.Model(checkpoints.load("breastmnist", folder), folder, 0.3, None, "float32", "cpu")


@pytest.fixture
def job(model: run.Model, tmp_path: Path) -> Job:
    sha = fingerprint(model.checkpoint)
    return Job("breastmnist", model.requested, sha, 0.3, None, "float32", "torch", "cpu", str(tmp_path / "out"))


def many(folder: Path, number: int) -> list[Image]:
    paths = [str(picture(folder / f"{index}.png", index, side=40)) for index in range(number)]
    return [Image(path, path) for path in paths]


def test_an_image_that_kills_its_process_is_named_and_the_others_are_read(
    model: run.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    healthy = many(tmp_path / "in", 6)
    found = sorted([*healthy, Poison("poison.png", "poison.png")], key=lambda image: image.address)
    settings = run.Settings(str(tmp_path / "out"), workers=2, part_size=4)
    assert run.score(model, Inputs(found, None, [], 0), settings) == 1
    errors = {row["path"]: row["error"] for row in rows(tmp_path / "out")}
    assert errors == {**{image.path: None for image in healthy}, "poison.png": process.ENDED}
    assert ledger.verify(Store(str(tmp_path / "out")))[1] == []

    # Its row is there, so it is not tried again.
    written = files(tmp_path / "out")
    assert run.score(model, Inputs(found, None, [], 0), settings) == 1
    assert files(tmp_path / "out") == written
    # An image that is read alone may differ from one in a batch by a rounding error.
    run.score(model, Inputs(healthy, None, [], 0), run.Settings(str(tmp_path / "healthy"), workers=1, part_size=4))
    for ours, theirs in zip(
        (row for row in rows(tmp_path / "out") if row["error"] is None), rows(tmp_path / "healthy"), strict=True
    ):
        assert ours.pop("p_malignant") == pytest.approx(theirs.pop("p_malignant"), abs=2e-6)
        assert ours.pop("p_benign") == pytest.approx(theirs.pop("p_benign"), abs=2e-6)
        assert ours == theirs
    assert "1 of 7 images failed" in capsys.readouterr().err
    assert not multiprocessing.active_children()


def test_a_process_that_is_killed_from_outside_costs_no_image(job: Job, tmp_path: Path) -> None:
    scoring = ScoringProcess(job, "cpu")
    images = many(tmp_path / "in", 2)
    scoring.score(Part("part-a.parquet", (images[0],)))
    (child,) = multiprocessing.active_children()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    written = scoring.score(Part("part-b.parquet", (images[1],)))
    assert (written.rows, written.errors) == (1, 0)
    scoring.close()
    assert not multiprocessing.active_children()


def test_a_part_whose_images_all_kill_their_process_is_left(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "TRIES", 1)
    monkeypatch.setattr(process, "IMAGE_TRIES", 1)
    scoring = ScoringProcess(job, "cpu")
    with pytest.raises(PartFailed, match="none of them can be the reason"):
        scoring.score(Part("part-a.parquet", (Poison("a", "a"), Poison("b", "b"))))
    scoring.close()


def test_an_image_that_takes_too_long_is_named(job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(process, "TRIES", 1)
    monkeypatch.setattr(process, "IMAGE_TRIES", 1)
    scoring = ScoringProcess(job, "cpu")
    (image,) = many(tmp_path / "in", 1)
    scoring.score(Part("part-a.parquet", (image,)))
    monkeypatch.setattr(process, "IMAGE_SECONDS", 0.5)
    written = scoring.score(Part("part-b.parquet", (Slow("slow.png", "slow.png"),)))
    scoring.close()
    assert (written.rows, written.errors) == (1, 1)


def test_a_worker_with_other_weights_stops_the_run(job: Job) -> None:
    other = Job(**{**{name: getattr(job, name) for name in Job.__dataclass_fields__}, "fingerprint": "0" * 64})
    with pytest.raises(ScaleError, match="other weights"):
        Scorer(other, "cpu")
    scoring = ScoringProcess(other, "cpu")
    with pytest.raises(ScaleError, match="other weights"):
        scoring.score(Part("part-a.parquet", ()))
    scoring.close()


def test_closing_ends_a_process_at_work(job: Job) -> None:
    scoring = ScoringProcess(job, "cpu")
    outcome: list[object] = []

    def score() -> None:
        try:
            scoring.score(Part("part-a.parquet", (Slow("slow.png", "slow.png"),)))
        except Closed as closed:
            outcome.append(closed)

    thread = threading.Thread(target=score)
    thread.start()
    for _ in range(300):
        if multiprocessing.active_children():
            break
        time.sleep(0.1)
    scoring.close()
    thread.join(30)
    assert len(outcome) == 1
    assert not multiprocessing.active_children()


def test_an_engine_that_is_left_early_ends_its_processes(job: Job, tmp_path: Path) -> None:
    images = many(tmp_path / "in", 1)
    work = [Part("part-a.parquet", (images[0],)), *(Part(f"part-{i}.parquet", (Slow("s", "s"),)) for i in range(4))]
    outcomes = local_engine.score_parts(work, job, 2)
    assert isinstance(next(outcomes), Written)
    started = time.monotonic()
    outcomes.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 30
    assert not multiprocessing.active_children()
