"""BrEaST (train/data/ultrasound.py), which no model may learn from, on made-up copies."""

from collections import Counter
from pathlib import Path

import openpyxl
import pytest

from src.tasks import TASKS
from tests.support import synthetic_datasets
from train import data


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
