"""PatchCamelyon (train/data/histopathology.py) on made-up copies."""

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from tests.support import synthetic_datasets
from tests.support.levels import mean_level
from train import data


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
