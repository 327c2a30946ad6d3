"""Golden values of the embedded checkpoints."""

from pathlib import Path

from src.models import checkpoints
from src.tasks import TASKS
from tests.support.app import ROOT

CLOSE = 1e-4
"""The largest accepted difference to a golden probability. train.publish accepts more, because it may run with other
packages than those that are pinned here."""


def pictures(task: str) -> list[Path]:
    return sorted((ROOT / "examples" / task).iterdir())


def golden(folder: Path) -> dict[str, tuple[float, ...]]:
    return checkpoints.load(task_of(folder), folder).config.vigil.golden


def task_of(folder: Path) -> str:
    return folder.name.partition("-")[0]


def malignant(task: str, probabilities: tuple[float, ...]) -> float:
    return sum(p for p, one in zip(probabilities, TASKS[task].malignant, strict=True) if one)


def as_files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in checkpoints.load(task_of(folder), folder).config.files}
