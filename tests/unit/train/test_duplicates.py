"""Near-duplicates of training images: how they are found, and the figures without them."""

from pathlib import Path

import numpy as np
import pytest

from src.tasks import TASKS
from tests.support import synthetic_datasets
from train import evaluate
from train.data import SOURCES, Sample, load
from train.evaluation import duplicates

pytestmark = pytest.mark.usefixtures("short_evaluation")


def test_a_repeat_of_a_training_picture_is_found_across_sets(tmp_path: Path) -> None:
    synthetic_datasets.busi(tmp_path / "busi")
    synthetic_datasets.busbra(tmp_path / "busbra")
    training = [sample for sample in load("ultrasound", tmp_path, ["busi", "busbra"]) if sample.split == "train"]
    test = [sample for sample in load("ultrasound", tmp_path, ["busbra"]) if sample.split == "test"]
    before = duplicates.highest_correlations(test, training)
    assert before.shape == (len(test),)
    assert before.max() < SOURCES["busbra"].near_duplicate
    original = next(sample for sample in training if sample.source == "busi")
    pixels = np.asarray(original.picture().image.convert("L"))
    synthetic_datasets.save(test[0].path, synthetic_datasets.repeat(pixels, np.random.default_rng(0)))
    after = duplicates.highest_correlations(test, training)
    assert after[0] > SOURCES["busbra"].near_duplicate
    assert np.array_equal(after[1:], before[1:])


def test_the_figures_without_near_duplicates_leave_them_out() -> None:
    task = TASKS["breastmnist"]
    samples = [
        Sample(f"s{n}", n % 2, f"g{n}", "test", "breastmnist", Path(), meta={"sex": "female"}) for n in range(60)
    ]
    sure = np.where(np.arange(60) % 2 == 0, 0.9, 0.1)
    sure[:10] = 1 - sure[:10]  # wrong on the first ten, which training does not know
    probabilities = np.stack([sure, 1 - sure], axis=1)
    correlations = np.where(np.arange(60) < 20, 0.5, 0.99).astype(np.float32)
    found = evaluate.evaluate_split(task, samples, probabilities, 0.3, correlations)
    without = found["without_near_duplicates"]
    assert (found["n"], without["n"]) == (60, 20)
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(50 / 60)
    assert without["metrics"]["accuracy"]["value"] == pytest.approx(0.5)
    assert without["at_default_threshold"]["malignant"]["sensitivity"]["of"] == 10
    assert without["correlation_above"] == SOURCES["breastmnist"].near_duplicate
    assert without["highest_correlation"] == pytest.approx(0.99)
    nothing = evaluate.evaluate_split(task, samples, probabilities, 0.3, np.zeros(60, dtype=np.float32))
    assert nothing["without_near_duplicates"]["metrics"] == nothing["metrics"]
    assert "without_near_duplicates" not in evaluate.evaluate_split(task, samples, probabilities, 0.3)
