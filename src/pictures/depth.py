"""Values of any depth -> 8 bits a channel: one rule for grey, colour and transparency, whatever format they come from.

Scanners and cameras write 10, 12 or 14 bits into 16. Divided by 65,535, such a picture would be nearly black. So values
are scaled by the smallest usual depth that holds the picture. These fixed steps keep a series of pictures comparable in
brightness; stretching each picture to its own maximum would not.
"""

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from src.pictures.picture import ImageRefused
from src.pictures.reasons import EXPORT

USUAL_DEPTHS = (8, 10, 12, 14, 16)
LABEL = 0.05
"""Labels are burnt in at one value, the full scale of 16 bits. The highest value is ignored if at most this share of
the picture has it.
"""
HELD = 0.999
"""The share of the other values that must fit the depth. The rest may be the soft edges of a label."""
FULL = 65535
PIECE = 4_000_000
"""Values that are converted at a time, because numpy needs 8 bytes for each."""


def image(values: np.ndarray, notes: list[str], alpha: bool = False, white_is_zero: bool = False) -> Image.Image:
    """An image, mode L, LA, RGB or RGBA, of values (H, W) or (H, W, 1 to 4), whole numbers or floats.

    `alpha`: whether the last channel is transparency, which has a scale of its own. Adds a sentence to `notes` where
    values of more than 8 bits were scaled. Raises ImageRefused if the values are not brightness values.
    """
    height, width = values.shape[:2]
    channels = values.reshape(height, width, -1)
    colours = channels[..., :-1] if alpha else channels
    eight = to_8_bits(colours, notes)
    if white_is_zero:
        eight = 255 - eight
    modes = {1: "L", 3: "RGB"}
    made = Image.fromarray(eight[..., 0] if eight.shape[2] == 1 else eight, modes[eight.shape[2]])
    if alpha:
        made.putalpha(Image.fromarray(_transparency(channels[..., -1])))
    return made


def to_8_bits(values: np.ndarray, notes: list[str]) -> np.ndarray:
    """Brightnesses, uint8, of values in an array of any shape and type, by the rule above.

    Whole numbers from 0 to 65,535, whatever type they are stored in, are scaled by the depth in use. Other floats must
    lie within 0 and 1, as scientific software writes them. Adds a sentence to `notes`; raises ImageRefused.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind not in "uif":
        raise ImageRefused(f"This image has complex numbers as values, which are no brightness; {EXPORT}")
    if values.dtype.kind == "f":
        if not all(np.isfinite(piece).all() for piece in _pieces(values)):
            raise ImageRefused(f"This image has values that are not numbers (NaN or infinite); {EXPORT}")
        low, high = float(values.min()), float(values.max())
        if low >= 0 and high <= 1:
            notes.append("Values from 0 to 1 (floating point) were scaled to 8 bits.")
            return _mapped(values, lambda piece: np.rint(piece.astype(np.float32) * 255))
        whole = all(np.array_equal(piece, np.rint(piece)) for piece in _pieces(values))
    else:
        low, high, whole = float(values.min()), float(values.max()), True
    if not (low >= 0 and high <= FULL and whole):
        raise ImageRefused(
            f"This image has values from {low:.4g} to {high:.4g}, but only brightness values from 0 to 65535 or "
            f"from 0 to 1 are read; {EXPORT}"
        )
    counts = np.zeros(FULL + 1, np.int64)
    for piece in _pieces(values):
        counts += np.bincount(piece.astype(np.int64), minlength=FULL + 1)
    bits = depth_in_use(counts)
    clipped = ", and brighter marks were cut to white" if high >= 2**bits else ""
    notes.append(f"A deep image ({bits} bits used) was scaled to 8 bits{clipped}.")
    steps = _steps(bits)
    return _mapped(values, lambda piece: steps[piece.astype(np.int64)])


def depth_in_use(counts: np.ndarray) -> int:
    """The smallest of USUAL_DEPTHS that holds a picture. `counts` (65536,) has the number of its values 0, 1, ..."""
    highest = int(np.flatnonzero(counts)[-1])
    if counts[highest] <= LABEL * counts.sum():
        counts = counts[:highest]
    highest = int(np.searchsorted(np.cumsum(counts), HELD * counts.sum()))
    return next(bits for bits in USUAL_DEPTHS if highest < 2**bits)


def _transparency(values: np.ndarray) -> np.ndarray:
    """An alpha channel as uint8. Its highest value gives its depth, because nearly every picture has opaque parts."""
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "f":
        return _mapped(values, lambda piece: np.rint(np.clip(np.nan_to_num(piece), 0, 1) * 255))
    high = min(max(int(values.max()), 0), FULL)
    steps = _steps(next(bits for bits in USUAL_DEPTHS if high < 2**bits))
    return _mapped(values, lambda piece: steps[piece.astype(np.int64).clip(0, FULL)])


def _steps(bits: int) -> np.ndarray:
    """The 8-bit value of each of 65,536 values, uint8, for a depth of `bits`. Values beyond the depth become white."""
    return np.rint(np.minimum(np.arange(FULL + 1) * (255 / (2**bits - 1)), 255)).astype(np.uint8)


def _pieces(values: np.ndarray) -> Iterator[np.ndarray]:
    """All values as one-dimensional pieces of some rows each."""
    rows = max(1, PIECE // max(1, values[0].size))
    for start in range(0, len(values), rows):
        yield values[start : start + rows].reshape(-1)


def _mapped(values: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The values after `change`, uint8 of the same shape. `change` gets one piece at a time."""
    mapped = np.empty(values.size, np.uint8)
    at = 0
    for piece in _pieces(values):
        mapped[at : at + piece.size] = change(piece)
        at += piece.size
    return mapped.reshape(values.shape)
