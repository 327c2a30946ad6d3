"""The DICOM objects of a slide: what they say, where they lie, and that validators and readers accept them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.pm import ParametricMap
from pydicom import uid
from pydicom.dataset import Dataset

from examples.phantoms import slide
from examples.phantoms.slide import DrawnSlide
from src.models.predictor import Predictor
from src.pictures.picture import ImageRefused
from src.slides import dicom_objects, files, run
from src.slides.report import SlideReport
from src.slides.run import Options
from tests.support import dicom_slide
from tests.support.dicom_slide import item

WEIGHTS = "ab" * 32
PATIENT = {
    "PatientName": "Doe^Jane",
    "PatientID": "4711-x",
    "PatientBirthDate": "19700101",
    "PatientSex": "F",
    "StudyDate": "20260102",
    "StudyTime": "101112",
    "StudyID": "S1-y",
    "AccessionNumber": "A1-z",
    "ReferringPhysicianName": "Physician^Pat",
}
PLACE: dict[str, Any] = {
    "FrameOfReferenceUID": "2.25.77",
    "PositionReferenceIndicator": "SLIDE_CORNER",
    "ImageOrientationSlide": [0, -1, 0, -1, 0, 0],
    "TotalPixelMatrixOriginSequence": [
        item(XOffsetInSlideCoordinateSystem=20.0, YOffsetInSlideCoordinateSystem=40.0),
    ],
}
SPECIMEN: dict[str, Any] = {
    "ContainerIdentifier": "Glass 17",
    "IssuerOfTheContainerIdentifierSequence": [],
    "ContainerTypeCodeSequence": [],
    "SpecimenDescriptionSequence": [
        item(
            SpecimenIdentifier="Node 3",
            SpecimenUID="2.25.88",
            IssuerOfTheSpecimenIdentifierSequence=[],
            SpecimenPreparationSequence=[],
        )
    ],
}
KINDS = ("PM", "SR")


class Read:
    """A slide, its results, and the objects that are written about it."""

    def __init__(self, slide: Path, scores: Path, report: SlideReport) -> None:
        self.slide, self.scores, self.report = slide, scores, report

    def written(self, folder: Path, with_identity: bool = True, weights: str = WEIGHTS, **changes: Any) -> dict:
        """The objects as another program reads them, by kind; `changes` are those of the report."""
        report = self.report.model_copy(update=changes)
        made = dicom_objects.write(self.slide, self.scores, folder, report, weights, with_identity)
        assert {file.name[:2] for file in made} == set(KINDS)
        return {file.name[:2]: pydicom.dcmread(file) for file in made}


@pytest.fixture(scope="module")
def tiff(slide_file: Path, predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Read:
    """The drawn slide as a TIFF."""
    scores = tmp_path_factory.mktemp("tiff")
    return Read(slide_file, scores, run.run(slide_file, scores, predictor, Options(0.3)))


@pytest.fixture(scope="module")
def dicom(drawn: DrawnSlide, predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Read:
    """The drawn slide as DICOM, turned on the glass, with patient and specimen."""
    folder = tmp_path_factory.mktemp("dicom")
    height, width = (side // dicom_slide.TILE * dicom_slide.TILE for side in drawn.pixels.shape[:2])
    file = dicom_slide.write(folder / "node.dcm", drawn.pixels[:height, :width], slide.FINE_MPP, "YBR_FULL_422")
    dicom_slide.describe(file, **PATIENT, **PLACE, **SPECIMEN)
    return Read(file, folder / "scores", run.run(file, folder / "scores", predictor, Options(0.3)))


def uids(data: Dataset) -> Iterator[tuple[str, str]]:
    """Every UID in an object that is not one of the standard, with its keyword."""
    for element in data.iterall():
        if element.VR == "UI" and not str(element.value).startswith("1.2.840.10008."):
            yield element.keyword, str(element.value)


def numbers(data: Dataset) -> dict[str, list[float]]:
    """The numbers of a report by the codes of their concepts."""
    found: dict[str, list[float]] = {}
    for element in data.iterall():
        if element.keyword == "ContentSequence":
            for each in element.value:
                if each.ValueType == "NUM":
                    code = each.ConceptNameCodeSequence[0].CodeValue
                    found.setdefault(code, []).append(float(each.MeasuredValueSequence[0].NumericValue))
    return found


def test_the_map_has_the_scores_at_their_places(tiff: Read, tmp_path: Path) -> None:
    tiff.written(tmp_path)
    scores = ParametricMap.from_file(next(tmp_path.glob("PM-*")))
    matrix = scores.get_total_pixel_matrix(apply_real_world_transform=False)
    values = files.read_map(tiff.scores, tiff.report)
    assert np.array_equal(matrix, np.nan_to_num(values, nan=dicom_objects.NOTHING))
    assert np.isnan(values).any()
    assert scores.FloatPixelPaddingValue == dicom_objects.NOTHING
    measures = scores.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(side) * 1000 for side in measures.PixelSpacing] == pytest.approx([tiff.report.stride_um] * 2)
    assert "SourceImageSequence" not in scores, "nobody has the slide as a DICOM object"


def test_a_large_map_has_several_frames(tiff: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_objects, "TILE", 16)
    tiff.written(tmp_path)
    scores = ParametricMap.from_file(next(tmp_path.glob("PM-*")))
    assert scores.NumberOfFrames >= 4
    matrix = scores.get_total_pixel_matrix(apply_real_world_transform=False)
    values = files.read_map(tiff.scores, tiff.report)
    assert np.array_equal(matrix, np.nan_to_num(values, nan=dicom_objects.NOTHING))


@pytest.mark.parametrize("kind", ["tiff", "dicom"])
def test_a_hot_spot_lies_where_the_map_is_hot(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    read: Read = request.getfixturevalue(kind)
    found = read.written(tmp_path)
    scores = ParametricMap.from_file(next(tmp_path.glob("PM-*")))
    report = highdicom.sr.srread(next(tmp_path.glob("SR-*")))
    to_pixels = highdicom.spatial.ReferenceToPixelTransformer.for_image(scores, for_total_pixel_matrix=True)
    spots = report.content.get_planar_roi_measurement_groups()
    assert len(spots) == len(read.report.spots) > 1
    values = files.read_map(read.scores, read.report)
    assert {spot.roi.frame_of_reference_uid for spot in spots} == {found["PM"].FrameOfReferenceUID}
    for spot, reported in zip(spots, read.report.spots, strict=True):
        centre = spot.roi.value[:4].mean(axis=0)
        column, row, _ = to_pixels(centre[None])[0]
        assert values[round(row), round(column)] == pytest.approx(reported.p_malignant, abs=1e-6)
        assert np.ptp(spot.roi.value, axis=0).max() * 1000 == pytest.approx(read.report.tile_um, rel=0.01)
        if kind == "tiff":
            assert centre[:2] == pytest.approx((reported.x_mm, reported.y_mm), abs=1e-3)


def test_the_origin_and_the_directions_of_the_glass_count(dicom: Read, tmp_path: Path) -> None:
    found = dicom.written(tmp_path)["PM"]
    cell, pixel = dicom.report.stride_um / 1000, dicom.report.mpp / 1000
    corner = found.TotalPixelMatrixOriginSequence[0]
    # A row runs down the glass, and a column to its left.
    inset = (cell - pixel) / 2
    assert float(corner.XOffsetInSlideCoordinateSystem) == pytest.approx(20 - inset)
    assert float(corner.YOffsetInSlideCoordinateSystem) == pytest.approx(40 - inset)
    assert [float(number) for number in found.ImageOrientationSlide] == PLACE["ImageOrientationSlide"]


def test_the_report_has_the_figures_and_says_that_they_are_not_calibrated(tiff: Read, tmp_path: Path) -> None:
    found, report = tiff.written(tmp_path)["SR"], tiff.report
    shown = numbers(found)
    assert shown["HIGHEST"] == [pytest.approx(report.highest, abs=1e-6)]
    assert shown["PERCENTILE-99-9"] == [pytest.approx(report.high_quantile, abs=1e-6)]
    assert shown["HOT-AREA"] == [pytest.approx(report.area_mm2, abs=1e-6)]
    assert shown["TILES"] == [report.tiles]
    assert shown["P-TILE"] == [pytest.approx(spot.p_malignant, abs=1e-6) for spot in report.spots]
    assert "111047" not in shown, "a slide's score is no probability of cancer"
    content = found.to_json()
    assert report.meaning in content
    assert report.disclaimer in content
    assert all(warning in content for warning in report.warnings)
    groups = highdicom.sr.srread(next(tmp_path.glob("SR-*"))).content.get_image_measurement_groups()
    said = {one.name.value: one.value.value for one in groups[0].get_qualitative_evaluations()}
    assert said == {"CALIBRATED": pydicom.sr.codedict.codes.SCT.No.value}


@pytest.mark.parametrize("kind", ["tiff", "dicom"])
def test_the_same_run_has_the_same_uids(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    read: Read = request.getfixturevalue(kind)
    first, again = read.written(tmp_path), read.written(tmp_path / "again")
    for name in KINDS:
        assert list(uids(first[name])) == list(uids(again[name]))
        assert all(uid.UID(value).is_valid for _, value in uids(first[name]))
    others = [
        read.written(tmp_path, weights="cd" * 32),
        read.written(tmp_path, threshold=0.4),
        read.written(tmp_path, stride_um=50.0),
    ]
    if kind == "dicom":
        others.append(read.written(tmp_path, with_identity=False))
    instances = [data[name].SOPInstanceUID for data in (first, *others) for name in KINDS]
    assert len(set(instances)) == len(instances)
    assert first["PM"].StudyInstanceUID == first["SR"].StudyInstanceUID
    assert first["PM"].SeriesInstanceUID != first["SR"].SeriesInstanceUID


def test_patient_study_specimen_and_frame_of_reference_of_a_dicom_slide_are_kept(dicom: Read, tmp_path: Path) -> None:
    found = dicom.written(tmp_path)
    for data in found.values():
        assert {keyword: str(data.get(keyword)) for keyword in PATIENT} == PATIENT
        assert data.StudyInstanceUID == f"{dicom_slide.ROOT_UID}.2"
        assert "PatientIdentityRemoved" not in data
        assert data.ContentQualification == "RESEARCH"
    scores = found["PM"]
    assert (scores.FrameOfReferenceUID, scores.PositionReferenceIndicator) == ("2.25.77", "SLIDE_CORNER")
    assert scores.ContainerIdentifier == "Glass 17"
    assert scores.SpecimenDescriptionSequence[0].SpecimenUID == "2.25.88"
    assert scores.SourceImageSequence[0].ReferencedSOPInstanceUID == f"{dicom_slide.ROOT_UID}.1"
    assert "2.25.88" in {value for _, value in uids(found["SR"])}


def test_a_deidentified_object_names_nobody_and_none_of_the_uids(dicom: Read, tmp_path: Path) -> None:
    found = dicom.written(tmp_path, with_identity=False)
    names = [text for text in PATIENT.values() if len(text) > 2] + ["Glass 17", "Node 3"]
    hidden = {f"{dicom_slide.ROOT_UID}.{number}" for number in (1, 2, 3)} | {"2.25.77", "2.25.88"}
    for file in tmp_path.iterdir():
        assert not [text for text in names if text.encode() in file.read_bytes()]
    for data in found.values():
        assert data.PatientIdentityRemoved == "YES"
        assert not hidden & {value for _, value in uids(data)}


def test_a_slide_that_is_no_dicom_names_nobody_not_even_its_file(tiff: Read, tmp_path: Path) -> None:
    found = tiff.written(tmp_path, slide="Doe^Jane.svs")
    for file in tmp_path.iterdir():
        assert b"Doe" not in file.read_bytes()
        assert tiff.slide.name.encode() not in file.read_bytes()
    assert {data.PatientIdentityRemoved for data in found.values()} == {"YES"}


@pytest.mark.parametrize(
    "attributes",
    [
        {"FrameOfReferenceUID": "no UID"},
        {"ImageOrientationSlide": [0, 0, 0, 0, 0, 0]},
        {"TotalPixelMatrixOriginSequence": []},
        {"SpecimenDescriptionSequence": []},
        {"SpecimenDescriptionSequence": [item(SpecimenIdentifier="x", SpecimenUID="no UID")]},
        {"ContainerIdentifier": ""},
    ],
)
def test_what_a_slide_does_not_state_is_derived(dicom: Read, attributes: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "node.dcm"
    file.write_bytes(dicom.slide.read_bytes())
    dicom_slide.describe(file, **attributes)
    found = Read(file, dicom.scores, dicom.report).written(tmp_path / "out")
    for data in found.values():
        assert all(uid.UID(value).is_valid for _, value in uids(data))


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_dicom_slide_without_uids_is_refused(keyword: str, dicom: Read, tmp_path: Path) -> None:
    file = tmp_path / "node.dcm"
    file.write_bytes(dicom.slide.read_bytes())
    dicom_slide.describe(file, **{keyword: ""})
    with pytest.raises(ImageRefused, match="does not state the UIDs"):
        Read(file, dicom.scores, dicom.report).written(tmp_path / "out")


@pytest.mark.parametrize("kind", ["tiff", "dicom"])
@pytest.mark.parametrize("with_identity", [True, False])
@pytest.mark.slow
def test_the_validator_accepts_the_objects(
    kind: str, with_identity: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    request.getfixturevalue(kind).written(tmp_path, with_identity)
    for file in tmp_path.iterdir():
        checked = subprocess.run(["dciodvfy", file], capture_output=True, text=True, timeout=60)
        errors = [line for line in checked.stderr.splitlines() if line.startswith("Error")]
        assert (checked.returncode, errors) == (0, [])
