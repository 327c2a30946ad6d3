"""The physical scale of a picture, in micrometres per pixel, as its file states it.

A file may state it in TIFF's resolution tags, in the description that OME, Aperio or ImageJ writes into a TIFF, or in
PNG's chunk pHYs. Programs fill those fields with the resolution of a screen or a printer (72, 96, 300 per inch), so
only the scale of a microscope counts. JPEG's density (JFIF) is not read: cameras and programs write 72 or 96 there.
"""

import html
import re
from collections.abc import Mapping
from typing import Any, Final

from tifffile import TiffPage

LEAST, MOST = 0.1, 4.0
"""Micrometres per pixel: oil immersion (100×) gives 0.1, a 2.5× objective 4. The resolutions of screens, printers and
flatbed scanners, up to 4,800 per inch, give more."""
SAME = 0.05
"""Pixels count as square where their width and height differ by at most this share."""
MEASURED: Final = "measured"
"""The key of a frame's `info` that says whether that size is a measured one, as in DICOM, and no printer's."""
KEY: Final = "mpp"
"""The key of a frame's `info`: the width and the height of a pixel in micrometres."""

MICROMETRES: Final = {
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer", "micrometre"), 1.0),
    **{"nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": 25_400.0, "in": 25_400.0},
}
"""Unit of length -> micrometres."""
TAG_UNITS: Final = {2: 25_400.0, 3: 10_000.0}
"""TIFF's ResolutionUnit, inch and centimetre -> micrometres. Without a unit the tags give only the aspect."""

Pair = tuple[float, float]
"""The width and the height of a pixel in micrometres."""

_NUMBER = r"([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]{1,2})?)"


def plausible(info: Mapping[Any, Any]) -> float | None:
    """Micrometres per pixel from a frame's `info`; None where they are not stated, not square or no microscope's."""
    width, height = info.get(KEY, (0.0, 0.0))
    if not (LEAST <= width <= MOST and LEAST <= height <= MOST) or abs(width - height) > SAME * max(width, height):
        return None
    return (width + height) / 2


def millimetres(info: Mapping[Any, Any]) -> Pair | None:
    """The width and the height of a pixel in millimetres, where a file states them for what is larger than a slide."""
    width, height = info.get(KEY, (0.0, 0.0))
    return (width / 1000, height / 1000) if min(width, height) > MOST and info.get(MEASURED) else None


def of_dpi(dpi: tuple[float, float]) -> Pair:
    """The size of a pixel, from pixels per inch in width and height."""
    return _size(25_400.0, dpi[0]), _size(25_400.0, dpi[1])


def of_tiff(page: TiffPage, first: TiffPage) -> Pair | None:
    """The size of a pixel of `page`, of a TIFF whose first page is `first`; None where nothing states it."""
    if first.is_ome:
        return _of_ome(first.description, page.imagewidth)
    if page.description.startswith("Aperio"):
        return _of_aperio(page.description)
    resolution = tuple(_ratio(page.tags.valueof(code)) for code in (282, 283))
    if page.is_imagej:
        unit = re.search(r"^unit=(.{1,20})$", page.description, re.MULTILINE)
        micrometres = MICROMETRES.get(unit[1].strip().replace("\\u00B5", "µ")) if unit else None
    else:
        number = page.tags.valueof(296, default=2)
        micrometres = TAG_UNITS.get(number) if isinstance(number, int) else None
    if micrometres is None:
        return None
    return _size(micrometres, resolution[0]), _size(micrometres, resolution[1])


def _of_ome(description: str, width: int) -> Pair | None:
    """The size of a pixel from OME-XML, for a page that is `width` pixels wide."""
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", description)
    stated = dict(re.findall(r'\b(\w+)="([^"]{1,40})"', pixels[0])) if pixels else {}
    sizes = []
    for axis in "XY":
        unit = html.unescape(stated.get(f"PhysicalSize{axis}Unit", "µm"))
        value = _matched(_NUMBER, stated.get(f"PhysicalSize{axis}", ""))
        sizes.append(value * MICROMETRES.get(unit, 0.0))
    # The XML describes the full size, of which the page may be a reduced copy.
    reduced = _matched(r"(\d{1,9})", stated.get("SizeX", "")) / width or 1.0
    return sizes[0] * reduced, sizes[1] * reduced


def _of_aperio(description: str) -> Pair | None:
    """The size of a pixel from Aperio's ImageDescription; a reduced page has the MPP of the full one in it."""
    found = re.search(rf"\bMPP\s*=\s*{_NUMBER}", description)
    if found is None:
        return None
    sizes = re.search(r"\[-?\d+,-?\d+ (\d{1,9})x\d+\][^|]*-> (\d{1,9})x\d+", description)
    reduced = int(sizes[1]) / max(1, int(sizes[2])) if sizes else 1.0
    return float(found[1]) * reduced, float(found[1]) * reduced


def _matched(pattern: str, text: str) -> float:
    found = re.fullmatch(pattern, text.strip())
    return float(found[1]) if found else 0.0


def _ratio(value: object) -> float:
    """A rational tag's value; 0 for anything else, since a damaged tag does no harm to the picture."""
    match value:
        case (int(above), int(below)) if below:
            return above / below
    return 0.0


def _size(unit: float, pixels: float) -> float:
    return unit / pixels if pixels > 0 else 0.0
