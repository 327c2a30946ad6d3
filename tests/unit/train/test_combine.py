"""train.combine: one checkpoint of several, calibrated on validation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.models import checkpoints
from src.models.predictor import Predictor
from src.tasks import TASKS
from tests.support import synthetic_checkpoints
from tests.support.synthetic_checkpoints import edit
from train import combine, release
from train.data import load
from train.evaluation import metrics
from train.training import recipe as recipes


@pytest.fixture
def folders(data: Path, tmp_path: Path) -> list[Path]:
    return [synthetic_checkpoints.trained(tmp_path / str(seed), "ultrasound", data, seed=seed) for seed in range(2)]


def arguments(folders: list[Path], data: Path, out: Path) -> list[str]:
    return [*map(str, folders), "--name", "Two networks", "--data", str(data), "--out", str(out)]


def test_the_checkpoint_has_both_networks_and_its_own_temperature(
    folders: list[Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(folders[1] / "config.json", lambda config: config["vigil"].update(temperature=3.0))
    out = tmp_path / "both"
    assert combine.main(arguments(folders, data, out)) == 0
    assert "train.evaluate" in capsys.readouterr().out
    config = json.loads((out / "config.json").read_text())
    vigil = config["vigil"]
    assert vigil["name"] == "Two networks"
    assert vigil["members"][0]["temperature"] == 3.0 / 1.5
    assert vigil["members"][0]["recipe"]["seed"] == 1
    assert vigil["default_threshold"] == TASKS["ultrasound"].default_threshold
    validation = [s for s in load("ultrasound", data) if s.split == "validation"]
    both = Predictor(checkpoints.load("ultrasound", out))
    first, second = (Predictor(checkpoints.load("ultrasound", folder)) for folder in folders)
    logits, labels = release.predict_logits(both, validation)
    own, other = (release.predict_logits(one, validation)[0] for one in (first, second))
    np.testing.assert_allclose(logits, (own + other / 2) / 2, atol=1e-5)
    assert vigil["temperature"] == pytest.approx(metrics.fit_temperature(logits, labels), rel=1e-6)
    for picture, golden in vigil["golden"].items():
        example = release.ROOT / "examples" / "ultrasound" / picture
        np.testing.assert_allclose(both.predict(example).probabilities, golden, atol=1e-5)
    assert vigil["golden"]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another split": ({"split_sha256": "0" * 64}, "another split"),
    "a logistic regression": (
        {"recipe": recipes.load("breastmnist-logistic").model_dump(mode="json")},
        "is no neural network",
    ),
    "other views": ({"test_time_augmentation": "flips"}, "another test_time_augmentation"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_checkpoints_that_do_not_fit_each_other(
    wrong: str, folders: list[Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, sentence = WRONG[wrong]
    edit(folders[1] / "config.json", lambda config: config["vigil"].update(change))
    assert combine.main(arguments(folders, data, tmp_path / "both")) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "both").exists()


def test_one_checkpoint_or_a_combined_one_is_not_combined(
    folders: list[Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert combine.main(arguments(folders[:1], data, tmp_path / "both")) == 1
    assert "2 to 5 checkpoints" in capsys.readouterr().err
    before = {file.name: file.read_bytes() for file in folders[0].iterdir()}
    assert combine.main(arguments(folders, data, folders[0])) == 1
    assert "is one of the checkpoints" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in folders[0].iterdir()} == before, "nothing is lost"
    assert combine.main(arguments(folders, data, tmp_path / "both")) == 0
    assert combine.main(arguments([tmp_path / "both", folders[0]], data, tmp_path / "again")) == 1
    assert "combined already" in capsys.readouterr().err
