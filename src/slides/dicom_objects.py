"""The results of a slide as DICOM objects: a Parametric Map of p(malignant), and a structured report (SR).

The map has a value for each cell and lies in the frame of reference of the slide. The report is a Comprehensive 3D SR
by template TID 1500: a group of figures of the whole slide, which are not calibrated, and one for each hot spot. UIDs
depend on the slide, the weights and the settings alone, as in src/exports/dicom_report.py.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from highdicom import (
    PixelMeasuresSequence,
    PlaneOrientationSequence,
    PlanePositionSequence,
    VOILUTTransformation,
)
from highdicom.pm import DerivedPixelContrastValues, ParametricMap, RealWorldValueMapping
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    ImageRegion3D,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SubjectContext,
    SubjectContextSpecimen,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from src.exports.dicom_codes import VIGIL, described, encoded, number, own
from src.exports.dicom_source import derived_uid
from src.slides import dicom_place, files
from src.slides.dicom_place import SlidePlace
from src.slides.report import HotSpot, SlideReport

REPORT_SERIES, MAP_SERIES = 9801, 9803
"""Numbers of the two series within the study. They only order a list in a viewer."""
TILE: Final = 512
"""Cells along the side of a frame of the map."""
NOTHING: Final = -1.0
"""The value of a cell that was not read."""
SECTION_MM: Final = 0.001
"""Millimetres of the thickness of a plane, which the format demands: about the depth of focus of a scanner."""


def write(
    slide: Path, scores: Path, folder: Path, report: SlideReport, weights: str, with_identity: bool
) -> list[Path]:
    """Write the objects of a slide into `folder`, which is made; returns their files.

    `slide`: its file. `scores`: the folder of its results, which `report` is about. `weights`: the sha256 of the
    weights. Without `with_identity`, the objects are de-identified. Raises ImageRefused where a DICOM slide does not
    say which study it belongs to, and OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = dicom_place.place(slide, report, with_identity)
    written = []
    for name, data in objects(place, report, files.read_map(scores, report), weights).items():
        content, file = encoded(data), folder / name
        files.whole(file, partial(Path.write_bytes, data=content))
        written.append(file)
    return written


def objects(place: SlidePlace, report: SlideReport, values: np.ndarray, weights: str) -> dict[str, Dataset]:
    """The objects to file, by the names of their files. `values`: p(malignant) of each cell, `files.read_map`."""
    scores = _map(place, report, values, weights)
    made = {"PM": scores, "SR": _report(place, report, scores, weights)}
    for each in made.values():
        place.source.put_identity(each)
    return {f"{kind}-{each.SOPInstanceUID}.dcm": each for kind, each in made.items()}


def _map(place: SlidePlace, report: SlideReport, values: np.ndarray, weights: str) -> ParametricMap:
    cell = report.stride_um / 1000
    # The centre of the first cell, from the centre of the first pixel.
    inset = (cell - report.mpp / 1000) / 2
    data = ParametricMap(
        [_slide(place, report)],
        np.nan_to_num(values, nan=NOTHING),
        series_number=MAP_SERIES,
        device_serial_number=VIGIL,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            RealWorldValueMapping("P", "p(malignant) of a tile", codes.UCUM.NoUnits, (0.0, 1.0), 1.0, 0.0)
        ],
        voi_lut_transformations=[VOILUTTransformation(window_center=0.5, window_width=1.0)],
        pixel_measures=PixelMeasuresSequence((cell, cell), SECTION_MM),
        plane_orientation=PlaneOrientationSequence("SLIDE", place.orientation),
        plane_positions=[PlanePositionSequence("SLIDE", place.at(inset, inset), (1, 1))],
        content_label="P_MALIGNANT",
        content_description="p(malignant) of each tile, not a diagnosis",
        derived_pixel_contrast=DerivedPixelContrastValues.QUANTITY,
        tile_pixel_array=True,
        tile_size=[min(TILE, side) for side in values.shape],
        # TILED_FULL says the same in less space, and validators then miss the attributes of the frames.
        dimension_organization_type="TILED_SPARSE",
        **_described("slide map", place, report, weights),
    )
    # Validators demand a range, which may be a single value.
    data.FloatPixelPaddingValue = data.FloatPixelPaddingRangeLimit = NOTHING
    dimensions = _uid("dimensions", place, report, weights)
    for each in (*data.DimensionOrganizationSequence, *data.DimensionIndexSequence):
        each.DimensionOrganizationUID = dimensions
    if not place.is_dicom:
        # Nobody has the slide as a DICOM object that could be referred to.
        del data.SourceImageSequence
        del data.ReferencedSeriesSequence
        for frame in data.PerFrameFunctionalGroupsSequence:
            if "DerivationImageSequence" in frame:
                del frame.DerivationImageSequence
    return data


def _slide(place: SlidePlace, report: SlideReport) -> Dataset:
    """The slide as highdicom asks for it: patient and study are empty, its geometry is that of level 0."""
    data = place.source.evidence
    data.FrameOfReferenceUID = place.frame_of_reference
    data.PositionReferenceIndicator = "SLIDE_CORNER" if place.is_dicom else ""
    data.TotalPixelMatrixColumns, data.TotalPixelMatrixRows = report.width, report.height
    data.Columns = data.Rows = TILE
    data.NumberOfFrames = 1
    data.ImageOrientationSlide = [*place.orientation]
    data.LossyImageCompression = "01" if place.source.lossy else "00"
    corner = Dataset()
    corner.XOffsetInSlideCoordinateSystem, corner.YOffsetInSlideCoordinateSystem = place.origin
    data.TotalPixelMatrixOriginSequence = [corner]
    shared = Dataset()
    shared.PixelMeasuresSequence = PixelMeasuresSequence((report.mpp / 1000,) * 2, SECTION_MM)
    data.SharedFunctionalGroupsSequence = [shared]
    data.update(place.specimen)
    return data


def _report(place: SlidePlace, report: SlideReport, scores: ParametricMap, weights: str) -> Comprehensive3DSR:
    observer = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", weights), name=VIGIL, manufacturer_name=VIGIL, model_name=report.model
    )
    specimen = place.specimen.SpecimenDescriptionSequence[0]
    subject = SubjectContextSpecimen(
        place.specimen_uid,
        str(specimen.get("SpecimenIdentifier") or "") or None,
        str(place.specimen.ContainerIdentifier),
    )
    algorithm = AlgorithmIdentification(
        name=report.model,
        version=report.revision,
        manufacturer=VIGIL,
        parameters=[
            f"sha256 of the weights: {weights}",
            f"threshold: {report.threshold:.6f}",
            f"micrometres between tiles: {report.stride_um:.3f}",
        ],
    )
    images = [(scores.SOPClassUID, scores.SOPInstanceUID)]
    if place.is_dicom:
        images.append((place.source.sop_class, place.source.instance))
    whole = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(_uid("whole slide", place, report, weights), f"{VIGIL} whole slide"),
        algorithm_id=algorithm,
        measurements=list(_figures(report)),
        qualitative_evaluations=[_said("CALIBRATED", "Calibrated for slides", report.calibrated)],
        source_images=[SourceImageForMeasurementGroup(*image) for image in images],
    )
    whole[0].ContentSequence.extend(_texts(report))
    spots = [_spot(place, report, index, spot, weights) for index, spot in enumerate(report.spots, start=1)]
    content = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(codes.DCM.Device, observer),
            subject_context=SubjectContext(codes.DCM.Specimen, subject),
        ),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[whole, *spots],
        title=codes.DCM.ImagingMeasurementReport,
    )
    return Comprehensive3DSR(
        evidence=[scores, *([place.source.evidence] if place.is_dicom else ())],
        content=content,
        series_number=REPORT_SERIES,
        is_complete=True,
        **_described("slide report", place, report, weights),
    )


def _spot(
    place: SlidePlace, report: SlideReport, index: int, spot: HotSpot, weights: str
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    """A hot spot: its tile as a square on the glass."""
    pixel = report.mpp / 1000
    left, upper = (spot.x - 0.5) * pixel, (spot.y - 0.5) * pixel
    right, lower = left + spot.width * pixel, upper + spot.height * pixel
    corners = [(left, upper), (right, upper), (right, lower), (left, lower), (left, upper)]
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            _uid(f"hot spot {index}", place, report, weights), f"{VIGIL} hot spot {index}"
        ),
        referenced_region=ImageRegion3D(
            "POLYGON", np.array([place.at(*corner) for corner in corners]), place.frame_of_reference
        ),
        measurements=[number(own("P-TILE", "p(malignant) of the tile"), spot.p_malignant)],
        qualitative_evaluations=[_said("UNLIKE", "Unlike the images that the network learned from", spot.unlike)],
    )


def _figures(report: SlideReport) -> Iterator[Measurement]:
    none, area = codes.UCUM.NoUnits, codes.UCUM.SquareMillimeter
    for code, meaning, value, unit in (
        ("HIGHEST", "Highest p(malignant) of a tile", report.highest, none),
        ("PERCENTILE-99-9", "99.9th percentile of p(malignant) of the tiles", report.high_quantile, none),
        ("THRESHOLD", "Decision threshold", report.threshold, none),
        ("HOT-AREA", "Area at or above the threshold", report.area_mm2, area),
        ("TISSUE-AREA", "Area of the tissue", report.tissue_mm2, area),
        ("TILES", "Number of tiles", report.tiles, none),
        ("FAILED", "Number of blocks of tiles that were left out", len(report.failed_blocks), none),
        ("UNLIKE-SHARE", "Share of tiles unlike the training images", report.unlike_fraction, none),
    ):
        if value is not None:
            yield number(own(code, meaning), value, unit)


def _texts(report: SlideReport) -> Iterator[TextContentItem]:
    yield TextContentItem(own("USE", "Intended use"), report.disclaimer, RelationshipTypeValues.CONTAINS)
    for sentence in (report.meaning, *report.warnings):
        yield TextContentItem(codes.DCM.Comment, sentence, RelationshipTypeValues.CONTAINS)


def _said(code: str, meaning: str, value: bool) -> QualitativeEvaluation:
    return QualitativeEvaluation(own(code, meaning), CodedConcept.from_code(codes.SCT.Yes if value else codes.SCT.No))


def _described(kind: str, place: SlidePlace, report: SlideReport, weights: str) -> dict[str, Any]:
    uid = _uid(kind, place, report, weights)
    return described(kind, place.source, uid, report.model, report.revision, weights)


def _uid(kind: str, place: SlidePlace, report: SlideReport, weights: str) -> str:
    settings = (report.threshold, report.mpp, report.stride_um, report.tile_um, report.level, report.views)
    read = (report.all_tiles, report.tiles, len(report.failed_blocks))
    identity = "identified" if place.source.identity is not None else "de-identified"
    return derived_uid(kind, place.source.instance, weights, identity, *settings, *read)
