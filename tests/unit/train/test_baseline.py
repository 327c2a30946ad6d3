"""train/training/baseline: the logistic regression."""

from pathlib import Path

import numpy as np
import pytest

from src.models import checkpoints
from src.models.predictor import Predictor
from tests.support.tiny_recipe import run
from train.data import load
from train.evaluation import metrics

pytestmark = pytest.mark.slow


def test_the_baseline_is_scikit_learns_and_serves(data: Path, tmp_path: Path) -> None:
    assert run("breastmnist-logistic", data, tmp_path / "out") == 0
    checkpoint = checkpoints.load("breastmnist", tmp_path / "out")
    samples = [sample for sample in load("breastmnist", data) if sample.split == "test"]
    scores = np.array([Predictor(checkpoint).predict(sample.picture()).p_malignant for sample in samples])
    # The polarity too: malignant is class 0, and the layer's one logit is that of class 1.
    assert metrics.auc(np.array([sample.label == 0 for sample in samples]), scores) > 0.9
