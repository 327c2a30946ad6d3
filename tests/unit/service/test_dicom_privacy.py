"""What a DICOM file says of a patient goes nowhere: unique texts in every element are searched in all that is made."""

import io
import logging
import subprocess
import sys
import tempfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from src import score
from src.pictures import dicom_file
from src.pictures.picture import ImageRefused
from src.service import batch, read_picture
from src.service.model_loading import Models
from tests.support import dicom_files as made
from tests.support.app import ROOT
from tests.support.personal_dicom import BURNT_IN, CANARY, INNER, personal
from tests.support.small_models import small_models

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return small_models(tmp_path_factory.mktemp("checkpoints"))


def test_nothing_of_the_patient_is_in_what_is_made(
    models: Models,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = personal()
    assert content.count(CANARY.encode()) > 700
    capfd.readouterr()
    caplog.set_level(logging.DEBUG)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    file = tmp_path / "image"
    file.write_bytes(content)
    result, heat = read_picture.answer(models, "ultrasound", str(file), 0.3, "Grad-CAM")
    texts = [result.model_dump_json(), repr(dicom_file.parse(content)), repr(result)]
    shown = np.asarray(models["ultrasound"].read(str(file)).image)
    assert shown.shape == (INNER[3] - INNER[1], INNER[2] - INNER[0], 3)
    assert not (shown == BURNT_IN).all(axis=2).any()
    assert heat is not None
    drawn = Image.open(io.BytesIO(heat)).convert("RGB")
    assert not (np.asarray(drawn) == BURNT_IN).all(axis=2).any()
    reports = [
        read_picture.report(models, "ultrasound", str(file), 0.3, "Grad-CAM", kind, NOON)
        for kind in read_picture.SUFFIXES
    ]
    rows = batch.read_items(models, "ultrasound", batch.items(models, [(str(file), "a.dcm")]), 0.3)
    assert rows[0].p_malignant is not None
    texts += [repr(rows), repr(list(score.score(models["ultrasound"], [(str(file), None)], 0.3)))]
    texts += [repr(read_picture.robustness(models, "ultrasound", str(file), 0.3))]
    with zipfile.ZipFile(io.BytesIO(reports[-1])) as archive:
        reports += [archive.read(name) for name in archive.namelist()]
    assert len(reports) == len(read_picture.SUFFIXES) + 2
    made_files = [heat, *reports, *(each.read_bytes() for each in temporary.rglob("*") if each.is_file())]
    said = capfd.readouterr()
    texts += [said.out, said.err, caplog.text]
    assert not [text[:300] for text in texts if CANARY in text]
    assert not [data[:100] for data in made_files if CANARY.encode() in data]


def test_the_operator_can_keep_the_identity_in_dicom_reports(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "image"
    file.write_bytes(personal(SpecificCharacterSet="ISO_IR 100"))
    monkeypatch.setenv(read_picture.KEEP_IDENTITY, "1")
    report = read_picture.report(models, "ultrasound", str(file), 0.3, "none", read_picture.DICOM, NOON)
    with zipfile.ZipFile(io.BytesIO(report)) as archive:
        (written,) = [pydicom.dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    named = {element.keyword for element in written if CANARY in str(element.value)}
    assert named == {"PatientID", "IssuerOfPatientID", "PatientName", "StudyID", "AccessionNumber"} | {
        "ReferringPhysicianName"
    }


@pytest.mark.parametrize(
    "change",
    [
        {"Modality": CANARY, "Rows": 10**4},
        {"PhotometricInterpretation": CANARY},
        {"BitsAllocated": 64},
        {"WindowCenter": "1e999", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11"},
    ],
)
def test_no_refusal_quotes_the_file(
    change: dict[str, object],
    models: Models,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    content = personal(**change)
    capfd.readouterr()
    with pytest.raises(ImageRefused) as refused:
        models["ultrasound"].read(content)
    said = capfd.readouterr()
    texts = [str(refused.value), said.out, said.err, caplog.text]
    cause: BaseException | None = refused.value
    while cause is not None:
        texts.append(repr(cause))
        cause = cause.__cause__ or cause.__context__
    assert not [text for text in texts if CANARY in text]


def test_no_warning_quotes_the_file(tmp_path: Path) -> None:
    """Where visitors' images are read, which is a worker process. pytest takes the warnings of its own for itself."""
    inner = made.region(*INNER)
    inner.add_new(0x00080005, "CS", f"{CANARY}SET")
    file = tmp_path / "image"
    file.write_bytes(personal(SequenceOfUltrasoundRegions=made.regions(inner)))
    reads = (
        "import asyncio, sys; from src.service.model_loading import ModelsInfo; "
        "from src.service.shared_models import SharedModels; from src.service.worker_pool import ProcessWorkerPool; "
        "from tests.support.worker_functions import notes; "
        "pool = ProcessWorkerPool(ModelsInfo({}, {}), SharedModels({}), at_once=1); "
        "print(asyncio.run(pool.call(notes, sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", reads, str(file)], capture_output=True, text=True, timeout=300, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "ultrasound region" in done.stdout
    assert CANARY not in done.stdout + done.stderr
