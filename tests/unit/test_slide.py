"""The command `python -m src.slide`."""

import csv
from pathlib import Path

import numpy as np
import pytest

from src import slide
from src.slides import files
from tests.support import slide_files, synthetic_checkpoints


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(synthetic_checkpoints.write(tmp_path_factory.mktemp("checkpoint"), "histopathology"))


def small_slide(file: Path) -> str:
    pixels = np.full((600, 600, 3), 243, np.uint8)
    pixels[200:400, 200:400] = np.random.default_rng(0).integers(100, 220, (200, 200, 3))
    return str(slide_files.write(file, pixels, 0.97))


def test_a_good_and_a_bad_slide(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = small_slide(tmp_path / "good.tif"), tmp_path / "bad.tif"
    bad.write_bytes(b"II*\0no slide")
    out = tmp_path / "out"
    assert slide.main([good, str(bad), "--out", str(out), "--weights", weights, "--csv", "--stride", "96"]) == 1
    said = capsys.readouterr().err
    assert f"{bad}: This is not a slide" in said
    assert "not calibrated" in said
    with (out / slide.SLIDES).open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert float(first["p_malignant"]) <= float(first["highest"])
    assert first["error"] == ""
    assert second["error"]
    names = {path.name for path in (out / "good.tif").iterdir()}
    assert {files.TILES, files.TABLE, files.REPORT, files.HEAT_MAP, files.SPOTS, files.TISSUE} <= names


@pytest.mark.parametrize("arguments", [["--stride", "4"], ["--mpp", "5"], ["--threshold", "2"], ["--mpp", "nan"]])
def test_wrong_arguments_end_with_two(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        slide.main(["slide.svs", "--out", str(tmp_path), *arguments])
    assert ended.value.code == 2


def test_a_folder_that_cannot_be_written_is_said(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("a file")
    good = small_slide(tmp_path / "good.tif")
    assert slide.main([good, "--out", str(tmp_path / "out"), "--weights", weights]) == 1
    assert "cannot be written" in capsys.readouterr().err
