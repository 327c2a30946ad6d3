"""train/gate.py and train/gate_head.py: the gate's distance, its fit, its limit and its figures."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import mahalanobis

from src.models.gate import Gate, Gaussian
from src.models.predictor import Predictor
from src.pictures.picture import Picture
from src.tasks import TASKS
from tests.support import synthetic_datasets
from tests.support.gated_checkpoints import gate_of, pictures, verdict
from train import gate as fitting
from train import gate_head
from train.data import Sample, load
from train.quality import subsample


def test_the_distance_is_mahalanobis() -> None:
    rng = np.random.default_rng(0)
    found = rng.normal(size=(200, 12)) @ rng.normal(size=(12, 12)) + 3
    tensors = fitting.gaussian(found, lambda spread: np.zeros_like(spread))
    made = Gaussian(12, len(tensors["axes"]))
    made.load_state_dict(tensors)
    axes, rest = tensors["axes"].double().numpy(), float(tensors["rest"])
    covariance = axes.T @ np.diag(tensors["variances"].double().numpy() - rest) @ axes + rest * np.eye(12)
    scale = found.std(axis=0)
    points = rng.normal(size=(5, 12)) * 4
    expected = [
        mahalanobis((point - found.mean(axis=0)) / scale, np.zeros(12), np.linalg.inv(covariance)) ** 2 / 12
        for point in points
    ]
    with torch.no_grad():
        np.testing.assert_allclose(made(torch.tensor(points).float()).exp(), expected, rtol=1e-3)
        assert abs(float(made(torch.tensor(found).float()).exp().mean()) - 1) < 0.1


@pytest.mark.slow
def test_no_test_picture_is_read_for_the_fit(gated_models: dict[str, Predictor], gate_data: Path) -> None:
    samples = load("breastmnist", gate_data)
    held_out = [replace(sample, path=Path("gone")) if sample.split == "test" else sample for sample in samples]
    others = fitting.of_other_tasks(TASKS["breastmnist"], gate_data, "train")
    of_skin = fitting.of_other_tasks(TASKS["skin"], gate_data, "train")
    assert set(others) == {"skin", "histopathology"}  # not what looks the same
    assert set(of_skin) == {"ultrasound", "breastmnist", "histopathology"}
    assert all(sample.split == "train" for chosen in others.values() for sample in chosen)
    made = fitting.fit(gated_models["breastmnist"], held_out, others)
    assert made.config.limit == pytest.approx(gate_of(gated_models["breastmnist"]).config.limit)


def test_the_limit_lies_above_own_pictures_and_a_quarter_into_the_gap() -> None:
    own, far = np.linspace(0, 1, 1001), np.linspace(5, 6, 1001)
    assert fitting.limit(own, far) == pytest.approx(0.995 + 0.25 * (5.01 - 0.995))
    assert fitting.limit(own, own) == pytest.approx(0.995)  # no gap


@pytest.mark.slow
def test_figures_are_counted_by_hand(gated_models: dict[str, Predictor], gate_data: Path) -> None:
    predictor = gated_models["breastmnist"]
    samples = load("breastmnist", gate_data)
    parts = {split: [sample for sample in samples if sample.split == split] for split in ("validation", "test")}
    answered = {split: [predictor.predict(sample.picture()) for sample in chosen] for split, chosen in parts.items()}
    found = fitting.evaluate_gate(predictor, parts, answered, gate_data)
    own = np.array([verdict(predictor, sample.picture()).score for sample in parts["test"]])
    limit = gate_of(predictor).config.limit
    assert found["test"]["n"] == len(own)
    assert found["test"]["refused"]["value"] == pytest.approx((own > limit).mean())
    assert "against" not in found["validation"]
    against = found["test"]["against"]
    assert {kind: part["same_look"] for kind, part in against.items()} == {
        "skin": False, "ultrasound": True, "histopathology": False, "strange/noise": False, "strange/white": False,
    }  # fmt: skip
    theirs = np.array([verdict(predictor, picture).score for picture in pictures("skin", gate_data, "test")])
    pairs = (theirs[:, None] > own).mean() + 0.5 * (theirs[:, None] == own).mean()
    assert against["skin"]["auroc"]["value"] == pytest.approx(pairs, abs=1e-3)
    low, high = against["skin"]["auroc"]["interval"]
    assert low < against["skin"]["auroc"]["value"] <= high
    assert against["strange/white"]["n"] == 5
    assert fitting.evaluate_gate(predictor, parts, answered, gate_data) == found


@pytest.mark.slow
def test_without_the_other_sets_there_is_no_gate(
    gated_folders: dict[str, Path], gate_data: Path, tmp_path: Path
) -> None:
    alone, folder = tmp_path / "data", tmp_path / "skin"
    shutil.copytree(gate_data / "ham10000", alone / "ham10000")
    shutil.copytree(gated_folders["skin"], folder)
    before = (folder / "config.json").read_bytes()
    assert fitting.main([str(folder), "--data", str(alone)]) == 1
    assert (folder / "config.json").read_bytes() == before


def test_samples_are_the_same_every_time() -> None:
    samples = [Sample(str(n), 0, str(n), "train", "pcam", Path()) for n in range(500)]
    chosen = subsample(samples, 40)
    assert chosen == subsample(samples, 40)
    assert len({sample.name for sample in chosen}) == 40
    assert subsample(samples[:30], 40) == samples[:30]


def rows(middle: float, number: int, seed: int, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (number, width)) + middle * np.linspace(1, 2, width)


def test_the_limit_leaves_room_for_a_source_that_was_not_learned_from() -> None:
    # The third source lies on the way to the others, where its own head would not put the limit.
    own = {"a": rows(0, 80, 0), "b": rows(0.2, 80, 1), "c": rows(1.2, 80, 2)}
    validation = {"a": rows(0, 80, 3), "b": rows(0.2, 80, 4), "c": rows(1.2, 80, 5)}
    others = rows(3, 200, 6)
    made = gate_head.fit(own, validation, others)
    assert made.config.head is not None
    assert made.config.head.unlike_above <= made.config.limit

    def scores(found: np.ndarray) -> np.ndarray:
        picture, network = torch.tensor(found[:, :5]).float(), torch.tensor(found[:, 5:]).float()
        return np.array([verdict.score for verdict in made.verdicts(picture, network)])

    without = gate_head.fit({key: own[key] for key in "ab"}, {key: validation[key] for key in "ab"}, others)
    assert made.config.limit > without.config.limit
    assert (scores(np.concatenate(list(validation.values()))) <= made.config.limit).mean() > 0.99
    assert (scores(rows(3, 200, 7)) > made.config.limit).mean() > 0.97
    with pytest.raises(ValueError, match="takes at least two"):
        gate_head.fit({"a": own["a"]}, {"a": validation["a"]}, others)


@pytest.mark.slow
def test_only_several_sources_have_a_head(gated_models: dict[str, Predictor], gate_data: Path) -> None:
    """The head learns from half of the strange images."""
    assert gate_of(gated_models["skin"]).head is not None
    assert gate_of(gated_models["histopathology"]).head is None
    learned, left = (list(fitting.strange_pictures(gate_data, "black", half)) for half in (True, False))
    assert len(learned) + len(left) == 10
    assert learned
    assert left
    for task in ("skin", "histopathology"):
        found = verdict(gated_models[task], pictures(task, gate_data, "validation")[0])
        assert found.unlike_above <= found.limit
    older = Gate(gate_of(gated_models["histopathology"]).config.model_copy(update={"unlike_above": None}))
    features = gated_models["histopathology"].gate_features(pictures("histopathology", gate_data, "validation")[0])
    assert older.verdicts(*features)[0].unlike_above == math.inf


@pytest.mark.parametrize("task", TASKS)
def test_another_camera_keeps_the_shape_and_changes_the_look(task: str) -> None:
    rng = np.random.default_rng(0)
    change = gate_head.another_camera(TASKS[task], seed=1)
    before = [Picture(Image.fromarray(synthetic_datasets.colour(rng, n % 3, 3, 90, 64)), ()) for n in range(6)]
    after = [change(picture) for picture in before]
    assert {picture.image.size for picture in after} <= {(90, 64), (64, 90)}
    assert sum(a.image != b.image for a, b in zip(after, before, strict=True)) >= 5
