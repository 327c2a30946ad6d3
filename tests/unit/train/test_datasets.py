"""The readers of datasets on made-up copies: labels, groups, splits, dropped images, messages for damaged copies."""

import pickle
import random
import shutil
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from PIL import Image

from src.tasks import TASKS
from tests.support import synthetic_datasets
from train import data
from train.data import splits
from train.data.__main__ import main

SPLIT_NAMES = {"train", "validation", "test"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_datasets.everything(tmp_path_factory.mktemp("data"))


def mean_level(sample: data.Sample) -> float:
    return float(np.asarray(sample.picture().image.convert("L")).mean())


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


# HAM10000


def test_ham10000_reads_what_the_table_says(root: Path) -> None:
    samples = {sample.name: sample for sample in data.ham10000(root / "ham10000").samples}
    assert len(samples) == 7 * 9
    first = samples["ISIC_0000000"]
    assert (first.label, first.meta["sex"], first.meta["age"], first.meta["dx_type"]) == (0, "female", 40.0, "histo")
    assert samples["ISIC_0000001"].meta["age"] is None
    assert samples["ISIC_0000001"].group == first.group


def test_ham10000_layouts_suffixes_and_row_order_do_not_matter(tmp_path: Path) -> None:
    parts = synthetic_datasets.ham10000(tmp_path / "parts")
    flat = synthetic_datasets.ham10000(tmp_path / "flat", suffix=".webp")
    for picture in list(flat.glob("HAM10000_images_part_*/*")):
        picture.rename(flat / picture.name)
    metadata = flat / "HAM10000_metadata.csv"
    header, *lines = metadata.read_text().splitlines()
    metadata.write_text("\n".join([header, *reversed(lines)]))
    metadata.rename(flat / "HAM10000_metadata")  # as Harvard Dataverse names it
    one, other = data.ham10000(parts).samples, data.ham10000(flat).samples
    assert [(a.name, a.label, a.group, a.split) for a in one] == [(b.name, b.label, b.group, b.split) for b in other]


def test_ham10000_known_pairs_share_a_side(tmp_path: Path) -> None:
    folder = synthetic_datasets.ham10000(tmp_path, lesions=12, pairs=6)
    joined = {sample.name: sample for sample in data.ham10000(folder).samples}
    rows = (folder / "known_cross_lesion_duplicates.csv").read_text().splitlines()[1:]
    pairs = [row.split(",")[1:] for row in rows]
    assert all(joined[a].group == joined[b].group and joined[a].split == joined[b].split for a, b in pairs)
    (folder / "known_cross_lesion_duplicates.csv").unlink()
    without = data.ham10000(folder)
    alone = {sample.name: sample for sample in without.samples}
    assert any(alone[a].split != alone[b].split for a, b in pairs), "the pairs have to matter for this test"
    # Nothing becomes less held out by joining, and only the pairs move.
    moved = {name for name in alone if alone[name].split != joined[name].split}
    in_pairs = {joined[name].group for pair in pairs for name in pair}
    assert {joined[name].group for name in moved} <= in_pairs
    assert not any(alone[name].split == "test" for name in moved)
    assert "not merged" in without.notes[0]


def test_ham10000_says_what_is_missing(tmp_path: Path) -> None:
    folder = synthetic_datasets.ham10000(tmp_path / "ham10000")
    gone = sorted((folder / "HAM10000_images_part_2").iterdir())
    gone[0].write_bytes(b"")
    for path in gone[1:]:
        path.unlink()
    message = rf"{len(gone)} of 63 images listed in HAM10000_metadata.csv .* first {gone[0].stem}.*ham10000.*DVN/DBW86T"
    with pytest.raises(data.DataMissing, match=message):
        data.ham10000(folder)
    with pytest.raises(FileNotFoundError, match=r"HAM10000_metadata.csv is missing"):
        data.load("skin", tmp_path / "nowhere")


# ISIC 2017, and palms and soles


def shares(samples: list[data.Sample], label: int) -> dict[str, float]:
    of_class = [sample for sample in samples if sample.label == label]
    return {split: sum(sample.split == split for sample in of_class) / len(of_class) for split in SPLIT_NAMES}


def test_isic2017_is_brought_back_to_its_shape_where_it_was_squashed(tmp_path: Path) -> None:
    squashed = data.isic2017(synthetic_datasets.isic2017(tmp_path / "squashed", side=60)).samples
    original = data.isic2017(synthetic_datasets.isic2017(tmp_path / "original", side=60, squashed=False)).samples
    assert {sample.picture().image.size for sample in squashed} == {(80, 60)}
    assert {sample.picture().image.size for sample in original} == {(80, 60)}
    assert {sample.aspect for sample in original} == {None}
    assert [(a.name, a.split) for a in squashed] == [(b.name, b.split) for b in original]
    assert pickle.loads(pickle.dumps(squashed)) == squashed


def test_isic2017_joins_what_shows_one_lesion_and_keeps_a_quarter_for_test(tmp_path: Path) -> None:
    folder = synthetic_datasets.isic2017(tmp_path, per_class=40)
    names = sorted(path.name for path in (folder / "images").iterdir())
    first = np.asarray(Image.open(folder / "images" / names[5]).convert("RGB"))
    synthetic_datasets.save(folder / "images" / names[11], synthetic_datasets.repeat(first, np.random.default_rng(0)))
    samples = {sample.name: sample for sample in data.isic2017(folder).samples}
    assert data.leaks(samples.values()) == []
    assert samples[names[5][:-5]].group == samples[names[11][:-5]].group
    assert samples["ISIC_3000080"].group == samples["ISIC_3000081"].group  # of one lesion by the list
    assert len({sample.group for sample in samples.values()}) == 118
    codes = TASKS["skin"].codes
    for code in ("mel", "bkl", "nv"):
        found = shares(list(samples.values()), codes.index(code))
        assert found == pytest.approx({"train": 0.6, "validation": 0.15, "test": 0.25}, abs=0.04)


def test_acral_groups_patients_then_lesions_then_images(tmp_path: Path) -> None:
    samples = data.acral(synthetic_datasets.acral(tmp_path, lesions=30)).samples
    assert len(samples) == 2 * 30 * 3
    assert data.leaks(samples) == []
    by_name = {sample.name: sample for sample in samples}
    assert by_name["ISIC_4000000"].group == by_name["ISIC_4000003"].group == "IP_1"
    assert by_name["ISIC_4000006"].group == "IL_mel4"
    assert by_name["ISIC_4000002"].group == "ISIC_4000002"
    assert by_name["ISIC_4000002"].meta == {"attribution": "Society", "licence": "CC-BY"}
    assert by_name["ISIC_4000000"].picture().image.size == (64, 64), "square images stay square"
    for code in ("mel", "nv"):
        for attribution in ("Society", "Ward, Clinic"):
            some = [sample for sample in samples if sample.meta["attribution"] == attribution]
            found = shares(some, TASKS["skin"].codes.index(code))
            assert found == pytest.approx({"train": 0.6, "validation": 0.15, "test": 0.25}, abs=0.06)


@pytest.mark.parametrize("source", ["isic2017", "acral", "multirez"])
def test_listed_sets_say_what_is_missing(tmp_path: Path, source: str) -> None:
    folder = getattr(synthetic_datasets, source)(tmp_path / source)
    gone = sorted((folder / "images").iterdir())[0]
    gone.unlink()
    with pytest.raises(data.DataMissing, match=rf"1 of \d+ images listed in labels.csv .* first {gone.stem}"):
        data.READERS[source](folder)
    lines = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(lines.replace(",nv,", ",wart,").replace("benign", "cyst"))
    synthetic_datasets.save(gone, np.zeros((64, 64, 3), dtype=np.uint8))
    with pytest.raises(data.DataMissing, match=r"other classes: (wart|cyst)"):
        data.READERS[source](folder)
    (folder / "labels.csv").unlink()
    with pytest.raises(data.DataMissing, match=r"labels.csv is missing"):
        data.READERS[source](folder)


def test_multirez_splits_by_patient_and_joins_patients_that_share_an_image(tmp_path: Path) -> None:
    folder = synthetic_datasets.multirez(tmp_path, patients=40)
    shared = np.asarray(Image.open(folder / "images" / "0.jpg"))
    synthetic_datasets.save(folder / "images" / "9.jpg", synthetic_datasets.repeat(shared, np.random.default_rng(0)))
    samples = {sample.name: sample for sample in data.multirez(folder).samples}
    assert len(samples) == 120
    assert data.leaks(samples.values()) == []
    assert samples["multirez/1"].group == samples["multirez/2"].group
    assert samples["multirez/0"].group == samples["multirez/9"].group
    assert samples["multirez/0"].meta == {"BIRADS": "4a"}
    assert {sample.masks for sample in samples.values()} == {()}
    for label in (0, 1):
        found = shares(list(samples.values()), label)
        assert found == pytest.approx({"train": 0.6, "validation": 0.15, "test": 0.25}, abs=0.06)


# BUSI


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


# BUS-BRA


def test_busbra_splits_by_case_and_keeps_its_columns(tmp_path: Path) -> None:
    samples = data.busbra(synthetic_datasets.busbra(tmp_path, cases=60)).samples
    assert len(samples) == 105
    assert data.leaks(samples) == []
    assert samples[0].name == "bus_0001-l"
    assert samples[0].meta["BIRADS"] == "3"
    assert samples[0].meta["Device"] == "scanner 1"
    assert samples[0].meta["lesion_share"] == pytest.approx(20 * 16 / (80 * 64))
    assert [path.name for path in samples[0].masks] == ["mask_0001-l.png"]
    assert samples[0].group == samples[1].group
    for split, share in (("train", 0.7), ("validation", 0.1), ("test", 0.2)):
        for label in (0, 1):
            of_class = [sample for sample in samples if sample.label == label]
            assert sum(s.split == split for s in of_class) / len(of_class) == pytest.approx(share, abs=0.05)
    (tmp_path / "Images" / "bus_0002-r.png").unlink()
    with pytest.raises(
        data.DataMissing, match=r"1 of 105 images listed in bus_data.csv .*bus_0002-r.*zenodo.org/records/8231412"
    ):
        data.busbra(tmp_path)


# BrEaST, which no model may learn from


def test_breast_usg_is_external_and_keeps_its_columns(root: Path, tmp_path: Path) -> None:
    samples = data.breast_usg(root / "breast_usg").samples
    assert {sample.split for sample in samples} == {"external"}
    assert Counter(TASKS["ultrasound"].codes[sample.label] for sample in samples) == {
        "benign": 16,
        "malignant": 7,
        "normal": 1,
    }
    assert samples[2].name == "breast_usg/case003"
    assert samples[2].meta == {"BIRADS": "4a", "age": 33.0, "lesion_share": pytest.approx(20 * 16 / (80 * 64))}
    assert samples[3].meta["age"] is None
    assert samples[-1].meta["lesion_share"] is None, "no lesion, no size"
    both = TASKS["ultrasound"].sources
    assert data.load_external("ultrasound", root, both) == {"breast_usg": samples}
    assert data.load_external("skin", root, TASKS["skin"].sources) == {}
    assert data.load_external("ultrasound", tmp_path, both) == {}, "left out where it is missing"


def test_a_set_left_out_of_training_is_external_to_that_model(root: Path) -> None:
    found = data.load_external("ultrasound", root, ["busi"])
    assert set(found) == {"busbra", "multirez", "breast_usg"}
    assert len(found["busbra"]) == len(data.busbra(root / "busbra").samples)
    assert {sample.split for sample in found["busbra"]} == {"external"}


def test_no_task_learns_from_an_external_set(root: Path) -> None:
    external = {source for task in TASKS.values() for source in task.external_sources}
    assert not external & {source for task in TASKS.values() for source in task.sources}
    assert not any(sample.split == "external" for task in TASKS for sample in data.load(task, root))


def test_breast_usg_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(data.DataMissing, match=r"clinical-data-Dec-15-2023.xlsx is missing.*9WKK-Q141"):
        data.breast_usg(tmp_path)
    folder = synthetic_datasets.breast_usg(tmp_path)
    (folder / "BrEaST-Lesions_USG-images_and_masks" / "case007.png").unlink()
    with pytest.raises(data.DataMissing, match=r"1 of 24 images listed in BrEaST.* first case007"):
        data.breast_usg(folder)
    listed = next(folder.glob("*.xlsx"))
    book = openpyxl.load_workbook(listed)
    book.worksheets[0].delete_cols(7)
    book.save(listed)
    with pytest.raises(data.DataMissing, match="has no column Classification"):
        data.breast_usg(folder)
    listed.write_bytes(b"PK" + listed.read_bytes()[2:900])
    with pytest.raises(data.DataMissing, match="damaged"):
        data.breast_usg(folder)


# BreastMNIST


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


# PatchCamelyon


def test_pcam_is_the_same_as_hdf5_and_as_folders(tmp_path: Path) -> None:
    published = data.pcam(synthetic_datasets.pcam_h5(tmp_path / "h5")).samples
    folders = {
        sample.name: sample for sample in data.pcam(synthetic_datasets.pcam_folders(tmp_path / "folders")).samples
    }
    assert data.split_hash(published) == data.split_hash(folders.values())
    assert Counter(sample.split for sample in published) == {"train": 40, "validation": 12, "test": 16}
    for sample in published:
        same = folders[sample.name].picture().image
        assert np.array_equal(np.asarray(sample.picture().image), np.asarray(same))
    # Read in a forked worker, after this process has opened the file.
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        assert list(pool.map(mean_level, published[:4])) == [mean_level(sample) for sample in published[:4]]


def test_pcam_groups_are_slides_where_known_and_files_name_unlisted_tiles(tmp_path: Path) -> None:
    samples = data.pcam(synthetic_datasets.pcam_h5(tmp_path / "h5", slides=3)).samples
    assert {sample.group for sample in samples if sample.split == "test"} == {"test_0", "test_1", "test_2"}
    assert data.leaks(samples) == []
    unlisted = data.pcam(synthetic_datasets.pcam_folders(tmp_path / "folders", listed=False)).samples
    assert any(sample.name == "pcam/valid/patch0000003" for sample in unlisted)


def test_pcam_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(data.DataMissing, match=r"neither .* nor .*zenodo.org/records/2546921"):
        data.pcam(tmp_path / "nowhere")
    folder = synthetic_datasets.pcam_h5(tmp_path / "h5")
    x = folder / "camelyonpatch_level_2_split_valid_x.h5"
    whole = x.read_bytes()
    x.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(data.DataMissing, match=r"valid_x\.h5 or _y\.h5 is damaged"):
        data.pcam(folder)
    x.rename(x.with_name(f"{x.name}.gz"))
    with pytest.raises(data.DataMissing, match=r"valid_x.h5 missing \(unpack"):
        data.pcam(folder)
    folders = synthetic_datasets.pcam_folders(tmp_path / "folders")
    tile = next((folders / "test" / "1").iterdir())
    tile.unlink()
    with pytest.raises(data.DataMissing, match=rf"1 of 68 images listed in labels.csv .*{tile.stem}"):
        data.pcam(folders)


# What they share


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
