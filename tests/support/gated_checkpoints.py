"""Checkpoint folders with gates, and what the gates' tests read of them.

Made-up datasets stand for the tasks: each has its own colour and size, so that gates of random networks tell them
apart.
"""

import json
from pathlib import Path

import numpy as np

from src.models.gate import Gate
from src.models.prediction import Verdict
from src.models.predictor import Predictor
from src.pictures.picture import Picture
from tests.support import synthetic_checkpoints, synthetic_datasets
from tests.support.small_models import SMALL
from train import gate as fitting
from train.data import load, split_hash

# Checkpoint folder -> architecture (None: the task's default).
MODELS = {"skin": None, "breastmnist": None, "breastmnist-logistic": "vigil_linear28", "histopathology": None}


def with_strange(data: Path, root: Path) -> Path:
    """`root` as a `--data` folder: the datasets of `data`, and 10 images of no task in two folders."""
    for dataset in data.iterdir():
        (root / dataset.name).symlink_to(dataset)
    rng = np.random.default_rng(9)
    for folder, make in (
        ("noise", lambda: rng.integers(0, 256, (90, 120, 3))),
        ("white", lambda: np.full((90, 120), 250)),
    ):
        for number in range(5):
            synthetic_datasets.save(root / "strange" / folder / f"{number}.png", make().astype(np.uint8))
    (root / "strange" / "white" / "notes.txt").write_text("no picture")
    return root


def write(root: Path, data: Path) -> dict[str, Path]:
    """Name in MODELS -> a checkpoint folder in `root` with its gate."""
    made = {}
    for name, architecture in MODELS.items():
        task = name.split("-")[0]
        samples = load(task, data)
        made[name] = synthetic_checkpoints.write(root / name, task, architecture, **SMALL.get(name, {}))
        config = json.loads((made[name] / "config.json").read_text(encoding="utf-8"))
        config["vigil"] |= {
            "recipe": {"sources": list({sample.source for sample in samples})},
            "split_sha256": split_hash(samples),
        }
        synthetic_checkpoints.rewrite(made[name] / "config.json", config)
    assert fitting.main([*map(str, made.values()), "--data", str(data)]) == 0
    return made


def gate_of(predictor: Predictor) -> Gate:
    """The gate of a predictor that has one."""
    assert predictor.checkpoint.gate is not None
    return predictor.checkpoint.gate


def verdict(predictor: Predictor, picture: Picture | str) -> Verdict:
    """The verdict of a predictor's gate."""
    found = predictor.predict(picture).gate
    assert found is not None
    return found


def pictures(task: str, data: Path, split: str) -> list[Picture]:
    """A split's images."""
    return [sample.picture() for sample in load(task, data) if sample.split == split]
