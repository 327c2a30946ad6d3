"""python -m src.score with DICOM: reports in a folder, images from an archive, reports to an archive."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from PIL import Image
from pydicom import uid

from src import dicomweb, score
from tests.support import dicom_files as made
from tests.support import dicomweb_server
from tests.support.dicomweb_server import Archive
from tests.support.scoring import picture, read


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    monkeypatch.setattr(dicomweb, "LISTED_AFTER", (0, 0.01))
    dicomweb_server.shorten_waits(monkeypatch)
    with dicomweb_server.archive() as running:
        yield running


def image(number: int, **attributes: Any) -> bytes:
    return made.of_image(
        made.drawn(160, 128 + number), "RGB", uid.ExplicitVRLittleEndian, SOPInstanceUID=f"2.25.{number}", **attributes
    )


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two DICOM files, one without the UID of its study, one of no image, and a PNG."""
    folder = tmp_path / "images"
    picture(folder / "a.png")
    (folder / "b.dcm").write_bytes(image(1, PatientID="4711"))
    (folder / "c.dcm").write_bytes(image(2))
    (folder / "d.dcm").write_bytes(image(3, StudyInstanceUID=""))
    (folder / "e.dcm").write_bytes(image(4, Modality="CT"))
    return folder


def test_reports_are_written_beside_the_same_rows(
    made_checkpoint: Callable[[str], str], images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, rows, folder = tmp_path / "plain.csv", tmp_path / "rows.csv", tmp_path / "new" / "dicom"
    arguments = ["skin", str(images), "--weights", made_checkpoint("skin"), "--csv"]
    assert score.main([*arguments, str(plain)]) == 1
    capsys.readouterr()
    assert score.main([*arguments, str(rows), "--dicom", str(folder)]) == 1
    for one, other in zip(read(plain), read(rows), strict=True):
        assert {name: value for name, value in one.items() if not name.startswith("p_")} == {
            name: value for name, value in other.items() if not name.startswith("p_")
        }
        assert one["p_malignant"][:1] == other["p_malignant"][:1]
        if one["p_malignant"]:
            assert float(one["p_malignant"]) == pytest.approx(float(other["p_malignant"]), abs=1e-4)
    written = [pydicom.dcmread(file) for file in folder.iterdir()]
    assert sorted((data.Modality, data.PatientID or "") for data in written) == [
        ("OT", ""),
        ("OT", "4711"),
        ("SR", ""),
        ("SR", "4711"),
    ]
    said = capsys.readouterr().err
    assert "4 DICOM objects are in" in said
    assert "1 images are not DICOM files" in said
    assert "d.dcm: The DICOM file does not state the UIDs" in said
    assert "4711" not in said


def test_a_folder_that_cannot_be_made_ends_the_run(
    made_checkpoint: Callable[[str], str], images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    arguments = ["skin", str(images), "--weights", made_checkpoint("skin"), "--csv", str(tmp_path / "rows.csv")]
    assert score.main([*arguments, "--dicom", str(tmp_path / "file")]) == 1
    assert "file cannot be written" in capsys.readouterr().err


def test_a_study_is_read_from_an_archive_and_its_reports_are_stored_once(
    made_checkpoint: Callable[[str], str], archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(1, 4):
        archive.add(image(number))
    rows, folder = tmp_path / "rows.csv", tmp_path / "dicom"
    source = "dicomweb+" + archive.url + "/studies/2.25.2/series/2.25.3"
    arguments = ["skin", source, "--weights", made_checkpoint("skin"), "--csv", str(rows)]
    arguments += ["--dicom", str(folder), "--stow", archive.url]
    assert score.main(arguments) == 0
    assert [row["path"] for row in read(rows)] == [
        f"dicomweb+{archive.url}/studies/2.25.2/series/2.25.3/instances/2.25.{number}" for number in range(1, 4)
    ]
    assert "6 objects stored, 0 were there already, 0 failed." in capsys.readouterr().err
    assert len(archive.files) == 9
    assert score.main(arguments) == 0
    assert "0 objects stored, 6 were there already, 0 failed." in capsys.readouterr().err
    assert len(archive.files) == 9
    archive.files.clear()
    for number in range(1, 4):
        archive.add(image(number))
    archive.forgets = True
    assert score.main(arguments) == 1
    assert "0 objects stored, 0 were there already, 6 failed." in capsys.readouterr().err


def test_a_source_that_cannot_be_fetched_is_an_error_row(
    made_checkpoint: Callable[[str], str], archive: Archive, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    sources = [
        "dicomweb+" + archive.url + "/studies/2.25.2",
        "dicomweb://archive",
        "dicomweb+http://127.0.0.1:9/studies/1.2",
    ]
    assert score.main(["skin", *sources, "--weights", made_checkpoint("skin"), "--csv", str(rows)]) == 1
    assert [row["path"] for row in read(rows)] == sources
    errors = [row["error"] for row in read(rows)]
    assert errors[0] == "The archive lists no instance there."
    assert "is not dicomweb://" in errors[1]
    assert "cannot be reached" in errors[2]


def test_storing_needs_something_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        score.main(["skin", "a.png", "--stow", "http://127.0.0.1:9/"])
    assert ended.value.code == 2
    assert "--stow needs --dicom" in capsys.readouterr().err


def test_each_frame_gets_a_row_on_request(made_checkpoint: Callable[[str], str], tmp_path: Path) -> None:
    frames = [made.drawn(), made.drawn().transpose(Image.Transpose.FLIP_LEFT_RIGHT), made.drawn()]
    cine, rows = tmp_path / "cine.dcm", tmp_path / "rows.csv"
    cine.write_bytes(made.of_frames(frames, "RGB", uid.ExplicitVRLittleEndian))
    png = picture(tmp_path / "a.png")
    sources = [str(cine), str(png), str(tmp_path / "missing.dcm")]
    arguments = ["ultrasound", *sources, "--weights", made_checkpoint("ultrasound"), "--csv", str(rows)]
    assert score.main([*arguments, "--frames"]) == 1
    written = read(rows)
    assert [row["path"] for row in written] == [*(f"{cine}#{n}" for n in (1, 2, 3)), f"{png}#1", sources[2]]
    assert written[0]["p_malignant"] == written[2]["p_malignant"]
    assert written[-1]["error"]
    highest = max(float(row["p_malignant"]) for row in written[:3])
    assert score.main(arguments) == 1
    assert float(read(rows)[0]["p_malignant"]) == pytest.approx(highest, abs=1e-5)


def test_frames_exclude_reports(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        score.main(["skin", "a.png", "--frames", "--dicom", "reports"])
    assert "excludes --frames" in capsys.readouterr().err


@pytest.mark.parametrize("at", ["instances", "fetch", "store"])
def test_an_interrupted_archive_ends_the_run_in_a_sentence(
    at: str,
    made_checkpoint: Callable[[str], str],
    archive: Archive,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    archive.add(image(1))
    monkeypatch.setattr(dicomweb.Archive, at, interrupted)
    arguments = ["skin", "dicomweb+" + archive.url + "/studies/2.25.2", "--weights", made_checkpoint("skin")]
    arguments += ["--csv", str(tmp_path / "rows.csv"), "--dicom", str(tmp_path / "dicom"), "--stow", archive.url]
    assert score.main(arguments) == 130
    assert "score: interrupted" in capsys.readouterr().err
