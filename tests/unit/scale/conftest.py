"""Runs with `--out` in the present process, by PyTorch, which starts faster than OpenVINO."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from src import score
from src.scale import local_engine
from tests.support.scale_runs import InlineProcess
from tests.support.scoring import picture

Run = Callable[..., int]


@pytest.fixture(autouse=True)
def _by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIL_ENGINE", "torch")


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the parts that are scored, all in the present process."""
    monkeypatch.setattr(local_engine, "ScoringProcess", InlineProcess)
    InlineProcess.scored.clear()
    yield InlineProcess.scored
    InlineProcess.scored.clear()


@pytest.fixture
def run(made_checkpoint: Callable[[str], str], scored: list[str]) -> Run:  # noqa: ARG001
    """`src.score breastmnist` with these arguments, in parts of three images."""

    def call(*arguments: object) -> int:
        weights = ["--weights", made_checkpoint("breastmnist")] if "--weights" not in arguments else []
        return score.main(["breastmnist", *map(str, arguments), "--part-size", "3", "--workers", "1", *weights])

    return call


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with ten images and one that is broken."""
    folder = tmp_path / "images"
    for number in range(10):
        picture(folder / f"{number}.png", number, side=40)
    (folder / "broken.png").write_bytes(b"no image")
    return folder
