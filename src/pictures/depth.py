"""Grey pictures of more than 8 bits -> 8 bits."""

import numpy as np
from PIL import Image, TiffImagePlugin

from src.pictures.formats import EXPORT
from src.pictures.picture import ImageRefused

DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
"""Pillow's modes with more than 8 bits a channel."""
USUAL_DEPTHS = (8, 10, 12, 14, 16)


def to_8_bits(image: Image.Image, notes: list[str]) -> Image.Image:
    """RGB of a picture in one of DEEP_MODES, scaled by the smallest usual depth that holds its brightest pixel.

    Scanners write 10, 12 or 14 bits into 16: divided by 65,535 such a picture would be nearly black. The fixed steps
    keep the brightness of a series comparable; stretching each picture to its own maximum would not. Adds a sentence to
    `notes`. Raises ImageRefused where the values are no brightnesses from 0 to 65,535.
    """
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 65535 and (image.mode != "F" or np.array_equal(values, np.rint(values)))):
        raise ImageRefused(f"This picture has 32-bit values that are not brightnesses from 0 to 65535; {EXPORT}")
    bits = next(bits for bits in USUAL_DEPTHS if high < 2**bits)
    top = np.float32(2**bits - 1)
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
        values = top - values  # white is zero; Pillow inverts 8 bits but not 16 or 32
    notes.append(f"Deep grey picture ({bits} bits used) scaled to 8 bits.")
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8)).convert("RGB")
