"""Where a slide lies for DICOM: its study, its frame of reference and its specimen.

A DICOM slide states them. Any other slide gets UIDs that follow from its content, so that all objects about the same
slide lie in one study and in one frame of reference. Knows nothing of scores.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID, VLWholeSlideMicroscopyImageStorage

from src.exports import dicom_source
from src.exports.dicom_source import Source, derived_uid
from src.pictures.decoder_errors import refused_if_damaged
from src.pictures.dicom import is_dicom
from src.pictures.dicom_file import parse
from src.slides.report import SlideReport

HEADER: Final = 2**24
"""Bytes at the beginning of a DICOM slide in which its header lies, without the positions of its frames. A colour
profile has some megabytes."""
SPECIMEN: Final = (
    *("ContainerIdentifier", "IssuerOfTheContainerIdentifierSequence", "AlternateContainerIdentifierSequence"),
    *("ContainerTypeCodeSequence", "ContainerDescription", "ContainerComponentSequence"),
    "SpecimenDescriptionSequence",
)
"""The attributes of the specimen and the glass that carries it."""
GEOMETRY: Final = ("FrameOfReferenceUID", "TotalPixelMatrixOriginSequence", "ImageOrientationSlide")
UPRIGHT: Final = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""The directions of rows and columns where the file states none: millimetres are counted from the slide's upper left
corner, as in slide.json."""


@dataclass(frozen=True)
class SlidePlace:
    """Where a slide lies. Its `repr` says nothing of the patient.

    `source`: the slide as an object refers to it. `is_dicom`: whether that is a DICOM object, which somebody may have.
    `frame_of_reference`: a UID. `origin`: millimetres of the centre of the upper left pixel, x and y. `orientation`:
    the directions of a row and of a column, six numbers. `specimen`: the attributes of SPECIMEN.
    """

    source: Source
    is_dicom: bool
    frame_of_reference: str
    origin: tuple[float, float]
    orientation: tuple[float, ...]
    specimen: Dataset

    def __repr__(self) -> str:
        return "SlidePlace()"

    def at(self, columns: float, rows: float) -> tuple[float, float, float]:
        """The place, in millimetres, of what lies `columns` and `rows` millimetres from the centre of the first pixel.

        The third number is 0: the plane of the glass.
        """
        across, down = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        x, y, z = np.array([*self.origin, 0.0]) + columns * across + rows * down
        return float(x), float(y), float(z)

    @property
    def specimen_uid(self) -> str:
        """The UID of the first specimen on the slide."""
        return str(self.specimen.SpecimenDescriptionSequence[0].SpecimenUID)


def place(path: Path, report: SlideReport, with_identity: bool) -> SlidePlace:
    """Where the slide at `path` lies, which `report` is about.

    Without `with_identity`, other UIDs and other names of the specimen stand in place of those of the file. Raises
    ImageRefused where a DICOM slide does not say which study it belongs to, and OSError where it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEADER)
    if not is_dicom(head):
        return _derived(report)
    source = replace(dicom_source.source(head, None, with_identity), frame=None, burned_in="NO")
    with refused_if_damaged():
        stated = parse(head, (*GEOMETRY, *SPECIMEN), dicom_source.FRAMES).attributes
        frame_of_reference = str(stated.get("FrameOfReferenceUID", ""))
        if not UID(frame_of_reference).is_valid:
            frame_of_reference = derived_uid("frame of reference", source.series)
        origin, orientation = _origin(stated), _orientation(stated)
        specimen = _specimen(stated, source) if with_identity else _unnamed(source.instance)
    if not with_identity:
        frame_of_reference = derived_uid("de-identified", frame_of_reference)
    return SlidePlace(source, True, frame_of_reference, origin, orientation, specimen)


def _derived(report: SlideReport) -> SlidePlace:
    study, series, instance, frame_of_reference = (
        derived_uid("slide", kind, report.fingerprint) for kind in ("study", "series", "instance", "frame of reference")
    )
    # Nothing is known of the compression. Scanners write JPEG.
    source = Source(
        study, series, instance, VLWholeSlideMicroscopyImageStorage, None, None, burned_in="NO", number=1, lossy=True
    )
    half = report.mpp / 2000
    return SlidePlace(source, False, frame_of_reference, (half, half), UPRIGHT, _unnamed(instance))


def _origin(stated: Dataset) -> tuple[float, float]:
    items = stated.get("TotalPixelMatrixOriginSequence") or [Dataset()]
    x, y = (float(items[0].get(f"{axis}OffsetInSlideCoordinateSystem") or 0) for axis in "XY")
    return (x, y) if math.isfinite(x) and math.isfinite(y) else (0.0, 0.0)


def _orientation(stated: Dataset) -> tuple[float, ...]:
    """The stated directions, if they are two orthogonal ones of length 1."""
    found: Any = stated.get("ImageOrientationSlide")
    if not isinstance(found, Sequence) or len(found) != len(UPRIGHT):
        return UPRIGHT
    numbers = tuple(float(number) for number in found)
    axes = np.array(numbers).reshape(2, 3)
    return numbers if np.allclose(axes @ axes.T, np.eye(2), atol=1e-3) else UPRIGHT


def _specimen(stated: Dataset, source: Source) -> Dataset:
    """The specimen as the file states it; an unnamed one where the file does not name it by a UID."""
    found = Dataset()
    for keyword in SPECIMEN:
        if keyword in stated:
            found[keyword] = stated[keyword]
    specimens = found.get("SpecimenDescriptionSequence") or [Dataset()]
    if not found.get("ContainerIdentifier") or not all(UID(str(one.get("SpecimenUID"))).is_valid for one in specimens):
        return _unnamed(source.instance)
    return found


def _unnamed(instance: str) -> Dataset:
    """A specimen on a glass, whose names follow from the UID of the slide's image."""
    uid = derived_uid("specimen", instance)
    specimen = Dataset()
    specimen.SpecimenIdentifier, specimen.SpecimenUID = uid, uid
    specimen.IssuerOfTheSpecimenIdentifierSequence = specimen.SpecimenPreparationSequence = []
    found = Dataset()
    found.ContainerIdentifier = derived_uid("container", instance)
    found.IssuerOfTheContainerIdentifierSequence = found.ContainerTypeCodeSequence = []
    found.SpecimenDescriptionSequence = [specimen]
    return found
