"""ISIC 2017, palms and soles, and Multi-REZ, which a labels.csv lists, on made-up copies."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.tasks import TASKS
from tests.support import synthetic_datasets
from train import data


def shares(samples: list[data.Sample], label: int) -> dict[str, float]:
    of_class = [sample for sample in samples if sample.label == label]
    return {
        split: sum(sample.split == split for sample in of_class) / len(of_class)
        for split in ("train", "validation", "test")
    }


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
