"""A Result as DICOM objects: a structured report (SR), and the heat map as an image (SC).

The report is a Comprehensive 3D SR by template TID 1500, with measurements of the whole image. Both objects lie in the
study of the image, each in a series of its own. Their UIDs depend on the image, the weights and the settings alone, so
that the same answer is never filed twice.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
from highdicom.sc import SCImage
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementProperties,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from src.exports import dicom_source
from src.exports.dicom_codes import VIGIL, described, encoded, number, own, rounded
from src.exports.dicom_source import Source, derived_uid
from src.exports.report_parts import LONGEST_SIDE
from src.results.result import HeldOutResult, Result
from src.results.thresholds import Decision

REPORT_SERIES, HEAT_MAP_SERIES = 9801, 9802
"""Numbers of the two series within the study. They only order a list in a viewer."""


def objects(
    data: bytes, weights: str, result: Result, drawn: Image.Image | None, with_identity: bool
) -> dict[str, Dataset]:
    """The objects to file, by the names of their files: the report, and `drawn`, the image under its heat map.

    `data`: the DICOM file of the image. `weights`: the sha256 of the weights. `result`: their answer to the image.
    Without `drawn` there is the report alone. Without `with_identity`, the objects are de-identified. Raises
    ImageRefused where `data` does not say which image it is.
    """
    source = dicom_source.source(data, result.cine.frame if result.cine else None, with_identity)
    made: list[tuple[str, Dataset]] = [("SR", _report(source, result, weights))]
    if drawn is not None:
        made.append(("SC", _heat_map(source, result, drawn, weights)))
    for _, each in made:
        source.put_identity(each)
    return {f"{kind}-{each.SOPInstanceUID}.dcm": each for kind, each in made}


def zipped(files: dict[str, Dataset]) -> bytes:
    """A zip of these objects."""
    out = BytesIO()
    with ZipFile(out, "w", ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, encoded(data))
    return out.getvalue()


def _report(source: Source, result: Result, weights: str) -> Comprehensive3DSR:
    about = result.about_task
    frames = None if source.frame is None else [source.frame]
    observer = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", weights), name=VIGIL, manufacturer_name=VIGIL, model_name=result.model
    )
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(_uid("finding", source, result, weights), f"{VIGIL} {about.name}"),
        algorithm_id=AlgorithmIdentification(
            name=result.model,
            version=result.revision,
            manufacturer=VIGIL,
            parameters=[f"sha256 of the weights: {weights}", f"threshold: {result.threshold:.6f}"],
        ),
        measurements=list(_measurements(result)),
        qualitative_evaluations=[QualitativeEvaluation(own("DECISION", "Decision"), _decision(result.decision))],
        source_images=[SourceImageForMeasurementGroup(source.sop_class, source.instance, frames)],
    )
    group[0].ContentSequence.extend(_texts(result))
    content = MeasurementReport(
        observation_context=ObservationContext(ObserverContext(codes.DCM.Device, observer)),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
    )
    return Comprehensive3DSR(
        evidence=[source.evidence],
        content=content,
        series_number=REPORT_SERIES,
        is_complete=True,
        **_described("report", source, result, weights),
    )


def _heat_map(source: Source, result: Result, drawn: Image.Image, weights: str) -> SCImage:
    small = drawn.convert("RGB")
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    data = SCImage(
        np.asarray(small),
        "RGB",
        8,
        "PATIENT",
        source.study,
        series_number=HEAT_MAP_SERIES,
        patient_orientation=("L", "F"),
        **_described("heat map", source, result, weights),
    )
    # highdicom demands an orientation, and the image states none. The attribute may be empty (type 2).
    data.PatientOrientation = None
    data.Laterality = ""
    data.ReferringPhysicianName = data.StudyID = data.AccessionNumber = ""
    data.DerivationDescription = f"{result.explanation} of {VIGIL}. {result.disclaimer}"
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = source.sop_class, source.instance
    if source.frame is not None:
        reference.ReferencedFrameNumber = source.frame
    data.SourceImageSequence = [reference]
    if source.burned_in:
        data.BurnedInAnnotation = source.burned_in
    if source.lossy:
        data.LossyImageCompression = "01"
    return data


def _described(kind: str, source: Source, result: Result, weights: str) -> dict[str, Any]:
    uid = _uid(kind, source, result, weights)
    return described(kind, source, uid, result.model, result.revision, weights, f", {result.task}")


def _uid(kind: str, source: Source, result: Result, weights: str) -> str:
    settings = (result.threshold, result.explanation, result.explained_class, result.parts and result.parts.mpp)
    identity = "identified" if source.identity is not None else "de-identified"
    return derived_uid(kind, source.instance, source.frame, weights, identity, *settings)


def _measurements(result: Result) -> Iterator[Measurement]:
    yield number(codes.DCM.ProbabilityOfCancer, result.p_malignant)
    yield number(own("THRESHOLD", "Decision threshold"), result.threshold)
    for one in result.classes:
        yield number(own(f"P-{one.code}".upper(), f"Probability of {one.name}"), one.probability)
    for index, place in enumerate(result.screening.places, 1):
        yield from _held_out(index, place)


def _held_out(index: int, place: HeldOutResult) -> Iterator[Measurement]:
    """What the threshold costs on one held-out set. The method names the set."""
    method = own(f"SET-{index}", f"Held-out set {place.set}")
    for code, meaning, value, (low, high) in (
        ("SENSITIVITY", "Sensitivity at the threshold", place.sensitivity, place.sensitivity_interval),
        ("SPECIFICITY", "Specificity at the threshold", place.specificity, place.specificity_interval),
    ):
        if value is not None:
            interval = MeasurementProperties(
                upper_measurement_uncertainty=rounded(high - value),
                lower_measurement_uncertainty=rounded(value - low),
            )
            yield number(own(code, meaning), value, method=method, properties=interval)


def _texts(result: Result) -> Iterator[TextContentItem]:
    yield TextContentItem(own("USE", "Intended use"), result.disclaimer, RelationshipTypeValues.CONTAINS)
    for sentence in result.quality:
        yield TextContentItem(codes.DCM.Comment, sentence, RelationshipTypeValues.CONTAINS)


def _decision(decision: Decision) -> CodedConcept:
    return own(decision.replace(" ", "-").upper(), decision)
