"""The command `python -m src.slide`."""

import csv
from pathlib import Path

import numpy as np
import pytest

from src import dicomweb, slide
from src.results import local_validation
from src.slides import files
from tests.support import dicom_slide, dicomweb_server, slide_files, synthetic_checkpoints


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


def test_the_scores_of_slides_with_labels_are_a_table_for_src_local(weights: str, tmp_path: Path) -> None:
    slides = [small_slide(tmp_path / f"{number}.tif") for number in range(2)]
    out = tmp_path / "out"
    assert slide.main([*slides, str(tmp_path / "none.tif"), "--out", str(out), "--weights", weights]) == 1
    lines = (out / slide.SLIDES).read_text(encoding="utf-8").splitlines()
    labels = ["label", "malignant", "benign", ""]
    text = "\n".join(f"{line},{label}" for line, label in zip(lines, labels, strict=True))
    read = local_validation.parse_table(text, slide.TASK)
    assert read.labels == ["malignant", "benign"]
    assert all(0 <= score <= 1 for score in read.scores)


def test_a_slide_with_many_unreadable_blocks_ends_with_one(weights: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(100, 220, (1536, 1536, 3))
    file = slide_files.write(tmp_path / "spoiled.tif", pixels.astype(np.uint8), 0.97, (1, 8))
    slide_files.spoil(file, 0.1)
    out = tmp_path / "out"
    assert slide.main([str(file), "--out", str(out), "--weights", weights, "--stride", "96", "--all-tiles"]) == 1
    (row,) = csv.DictReader((out / slide.SLIDES).read_text(encoding="utf-8").splitlines())
    assert row["error"] == ""
    assert float(row["p_malignant"]) >= 0


def test_dicom_objects_are_written_beside_the_results(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, out, objects = small_slide(tmp_path / "good.tif"), tmp_path / "out", tmp_path / "objects"
    arguments = [good, "--out", str(out), "--weights", weights, "--stride", "96", "--dicom", str(objects)]
    assert slide.main(arguments) == 0
    names = {file.name for file in objects.iterdir()}
    assert sorted(name[:3] for name in names) == ["PM-", "SR-"]
    assert f"2 DICOM objects are in {objects}" in capsys.readouterr().err
    assert slide.main(arguments) == 0
    assert {file.name for file in objects.iterdir()} == names, "the same run writes the same objects"


def test_a_dicom_slide_without_a_study_is_scored_and_gets_no_object(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.full((512, 512, 3), 243, np.uint8)
    pixels[200:400, 200:400] = np.random.default_rng(0).integers(100, 220, (200, 200, 3))
    file = dicom_slide.write(tmp_path / "node.dcm", pixels, 0.97, "YBR_FULL_422")
    dicom_slide.describe(file, StudyInstanceUID="")
    out, objects = tmp_path / "out", tmp_path / "objects"
    arguments = [str(file), "--out", str(out), "--weights", weights, "--stride", "96", "--dicom", str(objects)]
    assert slide.main(arguments) == 1
    assert f"no report on {file}: The DICOM file does not state" in capsys.readouterr().err
    assert (out / "node.dcm" / files.REPORT).is_file()
    assert not list(objects.iterdir())


def test_objects_are_stored_once_in_an_archive(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicomweb, "LISTED_AFTER", (0, 0.01))
    good = small_slide(tmp_path / "good.tif")
    arguments = [good, "--out", str(tmp_path / "out"), "--weights", weights, "--stride", "96"]
    with dicomweb_server.archive() as archive:
        arguments += ["--dicom", str(tmp_path / "objects"), "--stow", archive.url]
        for counts in ("2 objects stored, 0 were", "0 objects stored, 2 were"):
            assert slide.main(arguments) == 0
            assert counts in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["--stow", "http://127.0.0.1:9/"], ["--stride", "4"], ["--mpp", "5"], ["--threshold", "2"], ["--mpp", "nan"]],
)
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
