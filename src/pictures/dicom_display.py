"""The values of a DICOM frame -> the 8-bit image that a viewer would show.

For grey: the modality LUT or rescale, then the VOI LUT or window, then the inversion of MONOCHROME1 (PS3.3, C.11).
Where a file has no window, values of more than 8 bits are scaled by the rule of all formats (`depth`). Palettes, YCbCr
and RGB become RGB. Overlays are not drawn.

Every value that a frame can have is transformed once, and the frame is mapped by this table. That takes little memory.
"""

import math
from typing import Final

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi

from src.pictures import depth
from src.pictures.dicom_codecs import YCBCR, Values
from src.pictures.dicom_file import DicomFile
from src.pictures.dicom_pixels import VALUES
from src.pictures.picture import ImageRefused

MOST_BITS: Final = 16
BAD_WINDOW: Final = "Its window (brightness and contrast) is not valid and was ignored."
SHIFTED: Final = "Values below zero were shifted to begin at zero."


def image(values: Values, file: DicomFile, notes: list[str]) -> Image.Image:
    """The image, mode L or RGB. Adds sentences to `notes`; raises ImageRefused, or one of DECODER_ERRORS."""
    array, photometric = values
    if photometric == "PALETTE COLOR":
        return _palette(array, file)
    if array.ndim == 2:
        return _grey(array, file, photometric == "MONOCHROME1", notes)
    made = depth.image(_scaled_up(array, file), notes)
    if photometric in YCBCR:
        made = Image.frombytes("YCbCr", made.size, made.tobytes()).convert("RGB")
    return made


def _grey(array: np.ndarray, file: DicomFile, inverted: bool, notes: list[str]) -> Image.Image:
    possible = _possible(array, file)
    shares = _windowed(possible, file, notes)
    if shares is not None:
        table = np.rint(255 * shares).astype(np.uint8)
        eight = _mapped(array, table, int(possible[0]))
    else:
        if array.dtype.kind == "i":
            low = int(array.min())
            if low < 0:
                notes.append(SHIFTED)
                array = (array.astype(np.int64) - low).astype(np.uint32 if array.itemsize > 2 else np.uint16)
            else:
                array = array.astype(np.uint32 if array.itemsize > 2 else np.uint16)
        eight = depth.to_8_bits(_scaled_up(array, file), notes)
        inverted ^= float(file.get("RescaleSlope", 1)) < 0
    return Image.fromarray(255 - eight if inverted else eight)


def _scaled_up(array: np.ndarray, file: DicomFile) -> np.ndarray:
    """The values, uint8 where they have at most 8 bits, which they then fill."""
    bits = 1 if array.dtype == bool else file.number("BitsStored", 8 * array.itemsize)
    if bits > 8 or array.max(initial=0) > 255:
        return array
    if bits == 8:
        return array.astype(np.uint8, copy=False)
    table = np.rint(np.minimum(np.arange(256) * (255 / (2**bits - 1)), 255)).astype(np.uint8)
    return table[array]


def _possible(array: np.ndarray, file: DicomFile) -> np.ndarray:
    """Every value that the frame can have, in order. Raises ImageRefused where there are too many to list."""
    low, high = int(array.min()), int(array.max())
    bits = min(file.number("BitsStored", 8 * array.itemsize), 8 * array.itemsize)
    signed = array.dtype.kind == "i"
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if bits > MOST_BITS:
        least, most = low, high
    # A damaged or odd file can have values beyond the bits that it states.
    least, most = min(least, low), max(most, high)
    if most - least >= 2**MOST_BITS:
        raise ImageRefused(VALUES)
    return np.arange(least, most + 1, dtype=np.int64)


def _windowed(possible: np.ndarray, file: DicomFile, notes: list[str]) -> np.ndarray | None:
    """The brightness, 0 to 1, of each possible value; None where the file states no table and no window."""
    attributes = file.attributes
    physical = apply_modality_lut(possible, attributes) if _rescales(file) else possible
    if file.get("VOILUTSequence"):
        return _of_table(apply_voi(np.rint(physical).astype(np.int64), attributes), attributes.VOILUTSequence[0])
    centre, width = (_first(file.get(keyword)) for keyword in ("WindowCenter", "WindowWidth"))
    if centre is not None and width is not None:
        shares = _window(physical.astype(np.float64), centre, width, str(file.get("VOILUTFunction", "LINEAR")))
        if shares is not None:
            return shares
        notes.append(BAD_WINDOW)
    if file.get("ModalityLUTSequence"):
        return _of_table(physical, attributes.ModalityLUTSequence[0])
    return None


def _rescales(file: DicomFile) -> bool:
    return bool(file.get("ModalityLUTSequence")) or file.get("RescaleSlope") is not None


def _of_table(mapped: np.ndarray, item: Dataset) -> np.ndarray:
    """Shares of the depth that the descriptor of a look-up table states."""
    bits = int(item.LUTDescriptor[2])
    # Some writers state 16 bits for entries of fewer. Then the largest entry is white.
    full = 2**bits - 1
    largest = int(np.max(mapped))
    return np.clip(mapped / (full if largest > 255 or bits <= 8 else max(largest, 1)), 0, 1)


def _window(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray | None:
    """Shares of the window (PS3.3, C.11.2.1.2 and C.11.2.1.3), 0 to 1; None for a window that is not valid."""
    function = function.upper().strip()
    if not (math.isfinite(centre) and math.isfinite(width)) or width < (1 if function == "LINEAR" else 1e-9):
        return None
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width == 0:
        return (values > centre).astype(np.float64)
    return np.clip((values - centre) / width + 0.5, 0, 1)


def _first(value: object) -> float | None:
    """The first of one or several numbers; None where there is none."""
    if isinstance(value, str | bytes) or value is None:
        return None
    try:
        numbers = list(value)  # type: ignore[call-overload]
    except TypeError:
        numbers = [value]
    return float(numbers[0]) if numbers and numbers[0] not in (None, "") else None


def _mapped(array: np.ndarray, table: np.ndarray, least: int) -> np.ndarray:
    """`table[array - least]`, by rows, so that the offsets take little memory."""
    mapped = np.empty(array.shape, np.uint8)
    step = max(1, depth.PIECE // max(1, array.shape[1]))
    for row in range(0, len(array), step):
        mapped[row : row + step] = table[array[row : row + step].astype(np.int64) - least]
    return mapped


def _palette(array: np.ndarray, file: DicomFile) -> Image.Image:
    possible = np.arange(int(array.max()) + 1)
    if array.dtype.kind != "u" or len(possible) > 2**MOST_BITS:
        raise ImageRefused(VALUES)
    colours = apply_color_lut(possible, file.attributes)[:, :3]
    # Some programs write 8 bits where the descriptor has 16.
    table = (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)
    made = np.empty((*array.shape, 3), np.uint8)
    for channel in range(3):
        made[..., channel] = _mapped(array, table[:, channel], 0)
    return Image.fromarray(made)
