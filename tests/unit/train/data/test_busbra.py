"""BUS-BRA (train/data/ultrasound.py) on made-up copies."""

from pathlib import Path

import pytest

from tests.support import synthetic_datasets
from train import data


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
