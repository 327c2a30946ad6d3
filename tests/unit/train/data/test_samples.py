"""What all datasets share (train/data): splits, groups, hashes, the command's table, messages for other copies."""

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.tasks import TASKS
from train import data
from train.data import splits
from train.data.__main__ import main

SPLIT_NAMES = {"train", "validation", "test"}


@pytest.mark.parametrize("task", list(TASKS))
def test_every_task_loads_whole_and_leak_free(root: Path, task: str) -> None:
    samples = data.load(task, root)
    assert {sample.split for sample in samples} == SPLIT_NAMES
    assert len({(sample.source, sample.name) for sample in samples}) == len(samples)
    assert data.leaks(samples) == []
    held = {split: {sample.label for sample in samples if sample.split == split} for split in SPLIT_NAMES}
    assert all(labels == set(range(len(TASKS[task].classes))) for labels in held.values())
    picture = samples[0].picture()
    assert picture.image.mode == "RGB"
    assert pickle.loads(pickle.dumps(samples)) == samples


def test_leaks_are_found(root: Path) -> None:
    samples = data.load("skin", root)
    moved = data.Sample(
        "copy", 0, samples[0].group, "test" if samples[0].split != "test" else "train", "ham10000", root
    )
    assert data.leaks([*samples, moved]) == [f"ham10000: {samples[0].group}"]


def test_split_hash_ignores_order_and_sees_every_change(root: Path) -> None:
    samples = data.load("ultrasound", root)
    shuffled = random.Random(0).sample(samples, len(samples))
    assert data.split_hash(shuffled) == data.split_hash(samples) == data.split_hash(data.load("ultrasound", root))
    assert data.split_hash(samples[1:]) != data.split_hash(samples)


def test_only_a_tasks_own_sources(root: Path) -> None:
    assert {sample.source for sample in data.load("ultrasound", root, ["busbra"])} == {"busbra"}
    for sources in (["pcam"], [], ["busi", "breast_usg"]):
        with pytest.raises(ValueError, match="busi, busbra, multirez"):
            data.load("ultrasound", root, sources)


def test_a_set_left_out_of_training_is_external_to_that_model(root: Path) -> None:
    found = data.load_external("ultrasound", root, ["busi"])
    assert set(found) == {"busbra", "multirez", "breast_usg"}
    assert len(found["busbra"]) == len(data.busbra(root / "busbra").samples)
    assert {sample.split for sample in found["busbra"]} == {"external"}


def test_no_task_learns_from_an_external_set(root: Path) -> None:
    external = {source for task in TASKS.values() for source in task.external_sources}
    assert not external & {source for task in TASKS.values() for source in task.sources}
    assert not any(sample.split == "external" for task in TASKS for sample in data.load(task, root))


def test_a_groups_split_hardly_depends_on_the_other_groups() -> None:
    sizes = {f"case {n}": 1 + n % 2 for n in range(600)}
    strata = {group: str(n % 3) for n, group in enumerate(sizes)}
    whole = splits.stratified(sizes, strata, validation=0.1, test=0.2)
    half = dict(list(sizes.items())[:400])
    part = splits.stratified(half, {group: strata[group] for group in half}, validation=0.1, test=0.2)
    assert sum(part[group] == whole[group] for group in half) > 0.9 * len(half)
    few = splits.stratified({"a": 1, "b": 1, "c": 1}, dict.fromkeys("abc", "x"), validation=0.1, test=0.1)
    assert set(few.values()) == SPLIT_NAMES


def test_flat_pictures_are_no_ones_repeats() -> None:
    flat = np.stack([splits.thumbnail(Image.new("L", (50, 40), level), 64) for level in (0, 90, 255)])
    assert splits.near_duplicates(["a", "b", "c"], flat, 0.9) == []


def test_the_table_shows_the_counts_and_the_missing(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(root)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("no group crosses a split") == len(data.READERS)
    assert "busi (ultrasound): 30 images" in shown
    assert main(["--data", str(tmp_path), "--task", "breastmnist"]) == 1
    assert "MISSING. BreastMNIST: breastmnist.npz is missing" in capsys.readouterr().out


def test_other_sizes_and_kaggles_copy_are_named(tmp_path: Path) -> None:
    for folder, name in (("breastmnist", "breastmnist_224.npz"), ("pcam", "train_labels.csv")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"")
    with pytest.raises(data.DataMissing, match=r"breastmnist_224.npz has larger images; the set at 28×28 is needed"):
        data.READERS["breastmnist"](tmp_path / "breastmnist")
    with pytest.raises(data.DataMissing, match=r"Kaggle's .* the six HDF5 files of PatchCamelyon are needed"):
        data.READERS["pcam"](tmp_path / "pcam")


def test_another_split_keeps_groups_together(root: Path) -> None:
    own, other = data.load("skin", root), data.load("skin", root, resplit=5)
    assert not data.leaks(other)
    assert [sample.name for sample in own] == [sample.name for sample in other]
    assert [sample.split for sample in own] != [sample.split for sample in other]
    assert {sample.split for sample in other} == {"train", "validation", "test"}
    assert [s.split for s in data.load("skin", root, resplit=5)] == [s.split for s in other]
