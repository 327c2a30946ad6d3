"""What a DICOM file says of its image area: the region of an ultrasound image with tissue, and the size of a pixel.

A region is an item of the Sequence of Ultrasound Regions (PS3.3, C.8.5.5). Names and settings are burnt in outside of
it.
"""

import math
from collections.abc import Iterator
from typing import Any, Final

from pydicom.dataset import Dataset

from src.pictures.dicom_file import DicomFile
from src.pictures.limits import MIN_SIDE
from src.pictures.picture import Box

TWO_DIMENSIONAL: Final = 1
TISSUE, COLOUR_FLOW = 1, 2
CENTIMETRES: Final = 3
ULTRASOUND: Final = ("US", "IVUS")

NO_REGION: Final = "The file marks no ultrasound region, so the whole image was read, with any text in it."
OUTSIDE: Final = "The ultrasound region that the file marks is not valid, so the whole image was read."
CROPPED: Final = "Only the ultrasound region that the file marks was read."

Spacing = tuple[float, float]
"""The width and the height of a pixel in millimetres."""


def region(file: DicomFile, size: tuple[int, int], notes: list[str]) -> tuple[Box, Dataset | None]:
    """The box of the largest 2D region of tissue or colour flow in an image of `size`, and its item.

    For a file without such a region, or with one that lies outside: the whole image and None. A note says so.
    """
    whole = (0, 0, *size)
    items = list(file.get("SequenceOfUltrasoundRegions", ()))
    if not items:
        if file.get("Modality") in ULTRASOUND:
            notes.append(NO_REGION)
        return whole, None
    found = [(box, item) for item in items for box in _boxes(item, size)]
    if not found:
        notes.append(OUTSIDE)
        return whole, None
    box, item = max(found, key=lambda each: _area(each[0]))
    if box != whole:
        notes.append(CROPPED)
    return box, item


def spacing(file: DicomFile, item: Dataset | None) -> Spacing | None:
    """The size of a pixel, from the ultrasound region `item` or from the file; None where neither states it."""
    if item is not None and item.get("PhysicalUnitsXDirection") == item.get("PhysicalUnitsYDirection") == CENTIMETRES:
        return _positive(item.get("PhysicalDeltaX"), item.get("PhysicalDeltaY"), 10.0)
    shared = file.get("SharedFunctionalGroupsSequence", ())
    measures = [inner for group in shared for inner in group.get("PixelMeasuresSequence") or ()]
    for value in (
        file.get("PixelSpacing"),
        *(measure.get("PixelSpacing") for measure in measures),
        file.get("NominalScannedPixelSpacing"),
    ):
        if value is not None and not isinstance(value, str) and len(value) == 2:
            return _positive(value[1], value[0])  # rows come first
    return None


def _boxes(item: Dataset, size: tuple[int, int]) -> Iterator[Box]:
    """The region's box within an image of `size`, if it is one that is read and lies in the image."""
    if item.get("RegionSpatialFormat") != TWO_DIMENSIONAL or item.get("RegionDataType") not in (TISSUE, COLOUR_FLOW):
        return
    edges = [item.get(f"RegionLocation{edge}") for edge in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
    if not all(isinstance(edge, int) for edge in edges):
        return
    left, upper, right, lower = edges
    box = (max(left, 0), max(upper, 0), min(right + 1, size[0]), min(lower + 1, size[1]))
    if box[2] - box[0] >= MIN_SIDE and box[3] - box[1] >= MIN_SIDE:
        yield box


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _positive(width: Any, height: Any, unit: float = 1.0) -> Spacing | None:
    """A pair of positive lengths, each times `unit`; None for anything else. Some files state negative deltas."""
    try:
        pair = abs(float(width)) * unit, abs(float(height)) * unit
    except (TypeError, ValueError):
        return None
    return pair if all(math.isfinite(side) and side > 0 for side in pair) else None
