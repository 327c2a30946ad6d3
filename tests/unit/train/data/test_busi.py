"""BUSI (train/data/ultrasound.py) on made-up copies."""

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.support import synthetic_datasets
from tests.support.levels import mean_level
from train import data


def test_busi_reads_pictures_not_masks(root: Path) -> None:
    samples = {sample.name: sample for sample in data.busi(root / "busi").samples}
    assert len(samples) == 30
    assert [path.name for path in samples["busi/benign (1)"].masks] == ["benign (1)_mask.png", "benign (1)_mask_1.png"]
    assert Counter(sample.label for sample in samples.values()) == {0: 10, 1: 10, 2: 10}
    assert Counter(sample.split for sample in samples.values()) == {"train": 21, "validation": 3, "test": 6}
    assert mean_level(samples["busi/benign (1)"]) < mean_level(samples["busi/normal (1)"])


def test_busi_repeats_are_dropped_but_never_a_test_image(tmp_path: Path) -> None:
    repeats = [
        ("benign (1)", "benign (2)"),  # train, test: the first goes
        ("benign (3)", "benign (4)"),  # train, validation: the first goes
        ("benign (5)", "benign (6)"),  # validation, test: the first goes
        ("benign (7)", "malignant (1)"),  # both train, two classes: both go
        ("malignant (2)", "normal (1)"),  # train and test, two classes: the first goes
        ("malignant (3)", "malignant (4)"),  # both train, one class: both stay, one group
        ("normal (2)", "normal (3)"),  # both test: both stay
    ]
    parts = dict.fromkeys((f"{code} ({n})" for code in synthetic_datasets.ULTRASOUND for n in range(1, 11)), "train")
    parts |= {"benign (4)": "val", "benign (5)": "val", "benign (2)": "test", "benign (6)": "test"}
    parts |= dict.fromkeys(("normal (1)", "normal (2)", "normal (3)"), "test")
    found = data.busi(synthetic_datasets.busi(tmp_path, split=parts, repeats=repeats))
    assert dict(found.dropped) == {
        "busi/benign (1)": "train image that repeats a test image",
        "busi/benign (3)": "train image that repeats a validation image",
        "busi/benign (5)": "validation image that repeats a test image",
        "busi/benign (7)": "train image whose repeat has another label",
        "busi/malignant (1)": "train image whose repeat has another label",
        "busi/malignant (2)": "train image that repeats a test image",
    }
    kept = {sample.name[5:]: sample for sample in found.samples}
    assert {name for name, sample in kept.items() if sample.split == "test"} == {
        k for k, v in parts.items() if v == "test"
    }
    assert kept["malignant (3)"].group == kept["malignant (4)"].group != kept["malignant (5)"].group
    assert data.leaks(found.samples) == []


@pytest.mark.parametrize("seed", range(5))
def test_busi_random_repeats_never_cross(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    names = [f"{code} ({n})" for code in synthetic_datasets.ULTRASOUND for n in range(1, 11)]
    originals, copies = names[::2], chance.sample(names[1::2], 8)
    repeats = [(chance.choice(originals), copy) for copy in copies]
    split = {name: chance.choice(("train", "val", "test")) for name in names}
    for listed in (True, False):
        folder = synthetic_datasets.busi(tmp_path / str(listed), split=split, repeats=repeats, listed=listed, seed=seed)
        found = data.busi(folder)
        assert data.leaks(found.samples) == []
        assert len(found.samples) + len(found.dropped) == len(names)
        groups = {sample.name: sample.group for sample in found.samples}
        for a, b in repeats:
            if {f"busi/{a}", f"busi/{b}"} <= groups.keys():
                assert groups[f"busi/{a}"] == groups[f"busi/{b}"]


def test_busi_without_its_list_is_matched_to_breastmnist(tmp_path: Path) -> None:
    folder = synthetic_datasets.busi(tmp_path / "busi", per_class=12)
    synthetic_datasets.breastmnist(tmp_path / "breastmnist", busi=folder)
    listed = data.busi(folder)
    assert listed.notes == ()
    (folder / "breastmnist_split.csv").unlink()
    matched = data.busi(folder)
    assert data.split_hash(matched.samples) == data.split_hash(listed.samples)
    assert "were matched with breastmnist.npz" in matched.notes[0]
    synthetic_datasets.breastmnist(tmp_path / "breastmnist", parts=(26, 4, 6))  # as many items, other pictures
    assert "it was split 70/10/20" in data.busi(folder).notes[0]


def test_busi_says_what_is_missing(tmp_path: Path) -> None:
    folder = synthetic_datasets.busi(tmp_path)
    (folder / "Dataset_BUSI_with_GT" / "malignant" / "malignant (4).png").unlink()
    with pytest.raises(
        data.DataMissing, match=r"1 of 10 images in Dataset_BUSI_with_GT/malignant .*malignant \(4\).*cu.edu.eg"
    ):
        data.busi(folder)
    shutil.rmtree(folder / "Dataset_BUSI_with_GT" / "normal")
    synthetic_datasets.busi(tmp_path / "other")
    with pytest.raises(data.DataMissing, match="Dataset_BUSI_with_GT/benign is missing"):
        data.busi(tmp_path / "nowhere")
    last = tmp_path / "other" / "Dataset_BUSI_with_GT" / "normal" / "normal (10).png"
    last.unlink()  # no gap: only the list tells
    with pytest.raises(data.DataMissing, match=r"1 of 30 images listed in breastmnist_split.csv .*normal \(10\)"):
        data.busi(tmp_path / "other")
