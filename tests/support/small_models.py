"""A small random network for each task."""

from pathlib import Path
from typing import Any, Final

from src.models import checkpoints
from src.models.predictor import Predictor
from src.service.model_loading import Models
from src.tasks import TASKS
from tests.support import synthetic_checkpoints

SMALL: Final[dict[str, Any]] = {name: {"input_size": (3, 32, 32)} for name in ("skin", "ultrasound")}


def small_models(folder: Path) -> Models:
    """A small model for each task, and two for BreastMNIST; their checkpoints are written into the folder."""
    made: dict[str, tuple[str, str | None]] = {name: (name, None) for name in TASKS}
    made["breastmnist-logistic"] = ("breastmnist", "vigil_linear28")
    return {
        name: Predictor(
            checkpoints.load(
                task, synthetic_checkpoints.write(folder / name, task, architecture, **SMALL.get(name, {}))
            )
        )
        for name, (task, architecture) in made.items()
    }
