"""Where a slide shows tissue: an overview of the slide -> a mask.

Tissue is what has colour. The threshold of saturation is Otsu's, between a floor above the noise of an empty slide and
a ceiling below pale tissue: a pen mark or blood would otherwise raise it until pale tissue vanishes. What is doubtful
counts as tissue, because an unread tile can hide a metastasis and a needless one costs milliseconds. So folds, blood
and pen marks are read; the gate says how many tiles are no lymph node.
"""

import math
from typing import Final

import cv2
import numpy as np

OVERVIEW_MPP: Final = 8.0
"""Micrometres per pixel of the overview: a cell is one pixel."""
FLOOR, CEILING = 8, 12
"""Levels of saturation, 0 to 255, between which Otsu's threshold is kept. Noise gives glass up to 6, and the palest
tissue has some 15."""
GLASS_LEVEL: Final = 200
"""The brightness of empty glass, at least, in each of red, green and blue."""
GLASS_SHARE: Final = 0.9
"""The quantile of brightness from which pixels count as glass where the slide has any."""
DARK: Final = 50
"""A pixel whose brightest channel is below this has no hue that could be measured. It counts as tissue if it is not a
part of the frame that a scanner leaves black."""
CLOSING_UM: Final = 40.0
"""Micrometres: gaps of this width are closed."""
LEAST_MM2: Final = 0.0025
"""Square millimetres of the smallest piece of tissue, 50 µm across: smaller ones are dust."""
STRIP: Final = 256
"""Rows of the overview that are computed at once where copies are large."""
LITTLE: Final = 0.001
"""Share of the slide below which there is said to be little tissue."""


def mask(overview: np.ndarray, mpp: float) -> np.ndarray:
    """Where tissue is, bool (H, W).

    `overview`: the slide, RGB, uint8 (H, W, 3), over white. `mpp`: its micrometres per pixel.
    """
    closed = _closed(overview, mpp)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    large = statistics[:, cv2.CC_STAT_AREA] * (mpp / 1000) ** 2 >= LEAST_MM2
    large[0] = False  # the background
    return _with(large, labels)


def _closed(overview: np.ndarray, mpp: float) -> np.ndarray:
    """Where colour is, and what is dark, with gaps closed: uint8 (H, W), 0 or 1."""
    # First, because it takes the most memory.
    found = _dark(overview)
    white = _white(overview)
    # Strip by strip, because float32 takes four times the memory of the overview.
    strips = [
        _saturation(_without_tint(overview[first : first + STRIP], white)) for first in range(0, len(overview), STRIP)
    ]
    saturation = cv2.medianBlur(np.concatenate(strips), 3)
    threshold, _ = cv2.threshold(saturation, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    found |= saturation >= min(max(threshold, FLOOR), CEILING)
    side = 2 * max(1, math.ceil(CLOSING_UM / mpp / 2)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    # Closed before small pieces are left out: scattered cells of pale tissue become one piece that is large enough.
    return cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, disc)


def _white(overview: np.ndarray) -> np.ndarray:
    """The mean colour of empty glass, float64 (3,); white where there is none."""
    brightness = overview.min(axis=2)
    rank = math.ceil(GLASS_SHARE * (brightness.size - 1))
    # np.quantile and boolean indices would make copies as float64 and int64.
    glass = brightness >= max(int(np.partition(brightness, rank, axis=None)[rank]), GLASS_LEVEL)
    return np.array(cv2.mean(overview, glass.astype(np.uint8))[:3]) if glass.any() else np.full(3, 255.0)


def _without_tint(overview: np.ndarray, white: np.ndarray) -> np.ndarray:
    """The overview with white glass, float32: a lamp gives glass a tint, which is no colour of tissue."""
    return np.minimum(overview * (255 / white).astype(np.float32), np.float32(255))


def _saturation(rgb: np.ndarray) -> np.ndarray:
    """The saturation (HSV) of each pixel, uint8 (H, W); 0 for dark pixels."""
    brightest = rgb.max(axis=2)
    share = (brightest - rgb.min(axis=2)) / np.maximum(brightest, 1)
    return np.where(brightest >= DARK, np.rint(255 * share), 0).astype(np.uint8)


def _dark(overview: np.ndarray) -> np.ndarray:
    """The dark pixels that do not belong to a black area at the edge of the slide, bool (H, W)."""
    dark = (overview.max(axis=2) < DARK).astype(np.uint8)
    number, labels = cv2.connectedComponents(dark, connectivity=8)
    inside = np.ones(number, bool)
    inside[0] = False  # what is not dark
    inside[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = False
    return _with(inside, labels)


def _with(chosen: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Where the label is chosen, bool (H, W). Strip by strip, because NumPy makes a copy of its indices, as int64."""
    return np.concatenate([chosen[labels[first : first + STRIP]] for first in range(0, len(labels), STRIP)])
