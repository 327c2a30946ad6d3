"""BreastMNIST (train/data/mnist.py) on made-up copies."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from src.tasks import TASKS
from tests.support import synthetic_datasets
from tests.support.levels import mean_level
from train import data


def test_breastmnist_polarity_zero_is_malignant(root: Path) -> None:
    """The file says 0 for malignant; the made-up malignant pictures are the bright ones."""
    samples = data.breastmnist(root / "breastmnist").samples
    stored = np.load(root / "breastmnist" / "breastmnist.npz")
    codes = TASKS["breastmnist"].codes
    for sample in samples:
        assert sample.key is not None
        raw = int(stored[sample.key.replace("images", "labels")][sample.row].item())
        assert codes[sample.label] == ("malignant" if raw == 0 else "benign")
        assert (mean_level(sample) > 130) == TASKS["breastmnist"].classes[sample.label].malignant
    assert Counter(sample.split for sample in samples) == {"train": 60, "validation": 12, "test": 24}
    assert "breastmnist/train/12" in {sample.name for sample in samples}


def test_breastmnist_repeats_are_dropped_from_training(tmp_path: Path) -> None:
    synthetic_datasets.breastmnist(tmp_path)
    with np.load(tmp_path / "breastmnist.npz") as stored:
        arrays = dict(stored)
    arrays["train_images"][7] = synthetic_datasets.repeat(arrays["test_images"][3], np.random.default_rng(0))
    np.savez(tmp_path / "breastmnist.npz", **arrays)
    found = data.breastmnist(tmp_path)
    assert dict(found.dropped) == {"breastmnist/train/7": "train image that repeats a test image"}
    assert sum(sample.split == "test" for sample in found.samples) == 24


def test_breastmnist_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(data.DataMissing, match=r"breastmnist.npz is missing.*zenodo.org/records/10519652"):
        data.breastmnist(tmp_path)
    path = synthetic_datasets.breastmnist(tmp_path) / "breastmnist.npz"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(data.DataMissing, match="damaged"):
        data.breastmnist(tmp_path)
    np.savez(path, train_images=np.zeros((1, 28, 28)), train_labels=np.zeros((1, 1)))
    with pytest.raises(data.DataMissing, match="has no val_images, val_labels, test_images, test_labels"):
        data.breastmnist(tmp_path)
