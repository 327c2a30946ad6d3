"""DICOM reports: what they say, to which image they refer, and that validators and readers accept them."""

import io
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset

from src.exports import dicom_codes, dicom_report
from src.pictures.picture import ImageRefused
from src.results.result import Result
from src.tasks import TASKS
from tests.support import dicom_files as made
from tests.support import synthetic_results

WEIGHTS = "ab" * 32
PATIENT = {
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientID": "4711",
    "PatientName": "Müller^Anna",
    "PatientBirthDate": "19700101",
    "PatientSex": "F",
    "StudyDate": "20260102",
    "StudyTime": "101112",
    "StudyID": "S1",
    "AccessionNumber": "A1",
    "ReferringPhysicianName": "Physician^Pat",
}
KINDS = ("SR", "SC")


def image(frames: Any = 1, **attributes: Any) -> bytes:
    return made.of_frames([made.drawn()] * frames, "RGB", uid.ExplicitVRLittleEndian, **attributes)


def written(
    data: bytes, with_identity: bool = True, drawn: bool = True, weights: str = WEIGHTS, **changes: Any
) -> dict[str, Dataset]:
    """The objects as another program reads them, by kind; `changes` are those of the result."""
    result = Result.model_validate(synthetic_results.as_dict(**changes))
    picture = Image.new("RGB", (160, 128), (200, 10, 30)) if drawn else None
    found = dicom_report.objects(data, weights, result, picture, with_identity)
    read = {}
    with zipfile.ZipFile(io.BytesIO(dicom_report.zipped(found))) as archive:
        for name in archive.namelist():
            read[name[:2]] = pydicom.dcmread(io.BytesIO(archive.read(name)))
            assert name == f"{name[:2]}-{read[name[:2]].SOPInstanceUID}.dcm"
    return read


@pytest.fixture(scope="module")
def objects() -> dict[str, Dataset]:
    return written(image(**PATIENT))


def items(data: Dataset) -> list[Dataset]:
    """All content items of a report."""
    return [data, *(inner for each in data.get("ContentSequence", ()) for inner in items(each))]


def named(data: Dataset, code: str) -> list[Dataset]:
    """The content items whose concept has this code."""
    return [
        each for each in items(data) if each.get("ConceptNameCodeSequence", [Dataset()])[0].get("CodeValue") == code
    ]


def number(item: Dataset) -> float:
    return float(item.MeasuredValueSequence[0].NumericValue)


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_is_filed_in_the_study_of_its_image(objects: dict[str, Dataset], kind: str) -> None:
    data = objects[kind]
    assert {word: str(data.get(word)) for word in PATIENT} == PATIENT
    assert (data.StudyInstanceUID, data.SeriesInstanceUID != "2.25.3") == ("2.25.2", True)
    assert data.ContentQualification == "RESEARCH"
    assert "PatientIdentityRemoved" not in data


def test_the_report_has_the_answer_and_its_costs(objects: dict[str, Dataset]) -> None:
    answer, report = synthetic_results.as_dict(), objects["SR"]
    assert number(*named(report, "111047")) == pytest.approx(answer["p_malignant"], abs=1e-6)
    assert number(*named(report, "THRESHOLD")) == 0.3
    assert named(report, "DECISION")[0].ConceptCodeSequence[0].CodeMeaning == answer["decision"]
    for one in answer["classes"]:
        assert number(*named(report, f"P-{one['code']}".upper())) == pytest.approx(one["probability"], abs=1e-6)
    places = [place for place in answer["screening"]["places"] if place["sensitivity"] is not None]
    assert [number(item) for item in named(report, "SENSITIVITY")] == [place["sensitivity"] for place in places]
    methods = [item.ConceptCodeSequence[0].CodeMeaning for item in named(report, "370129005")]
    assert set(methods) >= {f"Held-out set {place['set']}" for place in places}
    assert [item.TextValue for item in named(report, "USE")] == [answer["disclaimer"]]
    assert [item.TextValue for item in named(report, "121106")] == list(answer["quality"])
    assert any(WEIGHTS in item.TextValue for item in named(report, "111002"))


def test_the_report_names_image_and_frame() -> None:
    cine = {"count": 3, "frame": 1, "median_p_malignant": 0.5, "read": [0, 1, 2], "p_malignant": [0.1, 0.9, 0.5]}
    found = written(image(3), cine=cine)
    references = [item.ReferencedSOPSequence[0] for item in items(found["SR"]) if "ReferencedSOPSequence" in item]
    assert [(one.ReferencedSOPInstanceUID, one.ReferencedFrameNumber) for one in references] == [("2.25.1", 2)]
    source = found["SC"].SourceImageSequence[0]
    assert (source.ReferencedSOPInstanceUID, source.ReferencedFrameNumber) == ("2.25.1", 2)


def test_the_heat_map_is_the_drawn_image(objects: dict[str, Dataset]) -> None:
    assert (objects["SC"].pixel_array == np.array((200, 10, 30))).all()
    assert objects["SC"].pixel_array.shape == (128, 160, 3)
    assert "SC" not in written(image(), drawn=False)


def test_the_same_answer_has_the_same_uids() -> None:
    first = {kind: data.SOPInstanceUID for kind, data in written(image()).items()}
    assert {kind: data.SOPInstanceUID for kind, data in written(image()).items()} == first
    others = (
        written(image(), threshold=0.4),
        written(image(), weights="cd" * 32),
        written(image(SOPInstanceUID="2.25.9")),
        written(image(), with_identity=False),
    )
    for other in others:
        assert all(other[kind].SOPInstanceUID != first[kind] for kind in KINDS)
    everything = [data[kind].SOPInstanceUID for data in others for kind in KINDS]
    assert len(set(everything)) == len(everything)
    assert all(uid.UID(each).is_valid for each in everything)


def test_a_deidentified_object_names_nobody_and_none_of_the_uids() -> None:
    data = image(**PATIENT)
    first, again = written(data, with_identity=False), written(data, with_identity=False)
    for kind in KINDS:
        content = dicom_codes.encoded(first[kind])
        assert not [text for text in PATIENT.values() if len(text) > 2 and text.encode("latin-1") in content]
        assert not [each for each in ("2.25.1", "2.25.2", "2.25.3") if f'"{each}"' in first[kind].to_json()]
        assert first[kind].StudyInstanceUID == again[kind].StudyInstanceUID
    assert len({data.StudyInstanceUID for data in first.values()}) == 1


@pytest.mark.parametrize(("burned_in", "removed"), [("NO", "YES"), ("YES", "NO"), ("", "NO")])
def test_an_image_is_marked_as_deidentified_where_no_name_is_burnt_in(burned_in: str, removed: str) -> None:
    found = written(image(BurnedInAnnotation=burned_in), with_identity=False)
    assert [found[kind].PatientIdentityRemoved for kind in KINDS] == ["YES", removed]
    for data in found.values():
        methods = [item.CodeValue for item in data.get("DeidentificationMethodCodeSequence", ())]
        assert methods == (["113100"] if data.PatientIdentityRemoved == "YES" else [])


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, None),
        ({"BurnedInAnnotation": "YES"}, "YES"),
        ({"BurnedInAnnotation": "NO"}, "NO"),
        ({"BurnedInAnnotation": "YES", "SequenceOfUltrasoundRegions": made.regions(made.region(8, 8, 100, 100))}, "NO"),
    ],
)
def test_burnt_in_texts_are_flagged(attributes: dict[str, Any], expected: str | None) -> None:
    assert written(image(**attributes))["SC"].get("BurnedInAnnotation") == expected


@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEG2000Lossless])
def test_a_loss_is_flagged(syntax: str) -> None:
    found = written(made.of_image(made.drawn(), "RGB", syntax))["SC"]
    assert found.get("LossyImageCompression") == ("01" if syntax == uid.JPEGBaseline8Bit else None)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
@pytest.mark.parametrize("value", ["", "not a UID", "1." + "2" * 70])
def test_an_image_without_uids_is_refused(keyword: str, value: str) -> None:
    with pytest.raises(ImageRefused, match="does not state the UIDs"):
        written(image(**{keyword: value}))


def test_odd_values_of_patient_and_study_are_carried_as_they_are() -> None:
    odd = {"PatientBirthDate": "1970", "PatientSex": "X", "PatientName": "A" * 70, "StudyTime": "9:00", "StudyDate": ""}
    found = written(image(**odd))
    for kind in KINDS:
        assert {word: str(found[kind].get(word)) for word in odd} == odd
        assert found[kind].PatientID in ("", None)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("with_identity", [True, False])
@pytest.mark.slow
def test_validator_and_highdicom_accept_the_objects(task: str, with_identity: bool, tmp_path: Path) -> None:
    attributes = PATIENT if task == "skin" else {}
    for kind, data in written(image(**attributes), with_identity, task=task).items():
        file = tmp_path / f"{kind}.dcm"
        file.write_bytes(dicom_codes.encoded(data))
        checked = subprocess.run(["dciodvfy", file], capture_output=True, text=True, timeout=60)
        errors = [line for line in checked.stderr.splitlines() if line.startswith("Error")]
        assert (checked.returncode, errors) == (0, [])
        if kind == "SR":
            report = highdicom.sr.srread(file)
            groups = report.content.get_image_measurement_groups()
            assert [group.tracking_identifier for group in groups] == [f"Vigil {task}"]
            names = {measurement.name.value for measurement in groups[0].get_measurements()}
            assert {"111047", "THRESHOLD"} <= names
