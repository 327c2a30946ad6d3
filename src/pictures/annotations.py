"""Annotations burnt into an ultrasound image: calliper crosses and lines of text.

A scanner draws both as thin lines that are far brighter than the tissue around them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

MAX_SIDE = 384
"""Pixels of the longer side to which a scanned field is reduced before the search."""
MIN_CONTRAST = 90
"""How much brighter than its surroundings a line is (white top-hat), in grey levels of 0 to 255."""
MIN_BRIGHTNESS = 160
"""How bright a line is, in grey levels of 0 to 255."""

_Span = tuple[slice, slice]
"""The rows and columns of a connected component."""


class Annotations(NamedTuple):
    """`crosses`: the number of calliper crosses. `letters`: the number of letters in the longest line of text, which is
    0 for fewer than three."""

    crosses: int
    letters: int


def count(field: Image.Image) -> Annotations:
    """Count the annotations in a scanned field (any mode).

    A cross stands alone and is about as wide as high. Letters stand side by side at one height.
    """
    small = field.convert("L")
    small.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BICUBIC)
    grey = np.asarray(small).astype(np.int16)
    top_hat = grey - ndimage.grey_opening(grey, size=(5, 5))
    components, _ = ndimage.label((top_hat > MIN_CONTRAST) & (grey > MIN_BRIGHTNESS), structure=np.ones((3, 3)))
    spans: list[_Span] = []
    crosses: list[bool] = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(components), start=1):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if 4 <= height <= 24 and 2 <= width <= 24:
            spans.append((rows, columns))
            crosses.append(_is_cross(components[rows, columns] == number))
    isolated = sum(cross and _is_isolated(i, spans) for i, cross in enumerate(crosses))
    return Annotations(isolated, _longest_line(spans))


def _is_cross(component: np.ndarray) -> bool:
    """Whether a component (height, width), bool, is a + or an x.

    A cross is about as wide as high, thin, filled at its centre, and the same after half a turn.
    """
    height, width = component.shape
    if min(height, width) < 5 or max(height, width) > 1.5 * min(height, width) or component.mean() > 0.6:
        return False
    centre = component[height // 2 - 1 : height // 2 + 2, width // 2 - 1 : width // 2 + 2]
    turned = component[::-1, ::-1]
    return bool(centre.mean() > 0.5) and bool((component & turned).sum() > 0.6 * component.sum())


def _is_isolated(i: int, spans: Sequence[_Span]) -> bool:
    """Whether no other component is nearer to component `i` than the height of `i`. A letter has neighbours."""
    rows, columns = spans[i]
    margin = rows.stop - rows.start
    return not any(
        j != i
        and other_rows.start < rows.stop + margin
        and rows.start < other_rows.stop + margin
        and other_columns.start < columns.stop + margin
        and columns.start < other_columns.stop + margin
        for j, (other_rows, other_columns) in enumerate(spans)
    )


def _longest_line(spans: Sequence[_Span]) -> int:
    """The largest number of components that stand side by side at one height; 0 for fewer than three."""
    order = sorted(spans, key=lambda span: span[1].start)
    longest = 0
    for first in range(len(order)):
        length, (last_rows, last_columns) = 1, order[first]
        for rows, columns in order[first + 1 :]:
            height = max(rows.stop - rows.start, last_rows.stop - last_rows.start)
            level = abs(rows.stop - last_rows.stop) <= 3
            if level and 0 <= columns.start - last_columns.stop <= 1.5 * height:
                length, last_rows, last_columns = length + 1, rows, columns
        longest = max(longest, length)
    return longest if longest >= 3 else 0
