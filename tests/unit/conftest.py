"""A model and datasets for the tests of several rooms."""

from collections.abc import Callable
from pathlib import Path

import pytest

from src.models import checkpoints, engine_choice
from src.models.predictor import Predictor
from src.service.model_loading import Models
from tests.support import gated_checkpoints, synthetic_checkpoints, synthetic_datasets


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A small random network for BreastMNIST, in OpenVINO, as the app gives it to its worker processes."""
    folder = synthetic_checkpoints.write(tmp_path_factory.mktemp("checkpoint"), "breastmnist")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(engine_choice.VARIABLE, "openvino")
        return {"breastmnist": Predictor(checkpoints.load("breastmnist", folder))}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `--data` folder with every made-up dataset. Tests only read it."""
    return synthetic_datasets.everything(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def gate_data(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data` with images of no task besides. Tests only read it."""
    return gated_checkpoints.with_strange(data, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def gated_folders(gate_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoint folders with their gates, by the names of `gated_checkpoints.MODELS`. Tests only read them."""
    return gated_checkpoints.write(tmp_path_factory.mktemp("checkpoints"), gate_data)


@pytest.fixture(scope="session")
def gated_models(gated_folders: dict[str, Path]) -> dict[str, Predictor]:
    """The predictors of `gated_folders`."""
    return {name: Predictor(checkpoints.load(name.split("-")[0], folder)) for name, folder in gated_folders.items()}


@pytest.fixture(scope="session")
def made_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The folder of a task's made-up checkpoint, which is written once. Tests only read it."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def get(task: str) -> str:
        if not (folder / task).exists():
            synthetic_checkpoints.write(folder / task, task)
        return str(folder / task)

    return get
