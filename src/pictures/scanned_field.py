"""The scanned field of an ultrasound picture: the part that shows tissue, without margins, header and scale.

It is found once per picture. The quality warnings, the gate and the network all use it. A field may show two views side
by side; `views` finds those too.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from src.pictures.limits import MIN_SIDE
from src.pictures.picture import Box
from src.tasks import Task

# A row or column belongs to the field if more than FIELD_SHARE of it is not background.
PROFILE_SIDE = 384  # px: fine enough for margins; a large picture and its small copy get the same box
NOT_BLACK = 8  # brightness: above JPEG's ringing in black margins, below the speckle of deep, dark tissue
WHITE = 240  # a border at least this bright is a page, not a scan
FIELD_SHARE = 0.1  # lines of text and depth ticks light up less of their rows and columns
MIN_BAND = 0.15  # of the side: an outer band that is thinner and separate is a header or a grey bar
MAX_GAP = 0.02  # of the side: a dark band of at most this width does not end the field
MIN_FIELD = 0.4  # of the side: a smaller field is taken as a failure of the search

# A seam between two views is a step from top to bottom. `python -m train.views` measures what SEAM finds.
SEAM_SIDE = 224  # px: the shorter side of a field in which a seam is searched
SEAM_PLACE = 0.3  # of the width: a seam lies at least so far from either side
SEAM = 0.07  # the relative step between two columns, above which the field shows two views
SEAM_LEVEL = 20  # grey levels that are added to both sides of a step, so that noise in the dark is none


class Field(NamedTuple):
    """The part of a picture that the models read: `image` (8-bit RGB) and its `box` in the picture."""

    image: Image.Image
    box: Box


def crop(image: Image.Image, task: Task) -> Field:
    """The scanned field of an upright RGB picture; for a task that does not crop to it, the whole picture."""
    whole = (0, 0, *image.size)
    box = find(image) if task.crop_to_roi else whole
    return Field(image if box == whole else image.crop(box), box)


def find(image: Image.Image) -> Box:
    """The box of the scanned ultrasound field in pixels, without its black or white margins.

    Header lines, depth ticks and grey bars that a margin separates from the field are left out, too. If the field has
    less than MIN_FIELD of either side, the box is the whole picture. The same picture always gives the same box.
    """
    factor = max(1, -(-max(image.size) // PROFILE_SIDE))
    grey = np.asarray(image.convert("L").reduce(factor))
    border = np.concatenate((grey[0], grey[-1], grey[:, 0], grey[:, -1]))
    field = grey < WHITE if np.median(border) >= WHITE else grey > NOT_BLACK

    height, width = grey.shape
    left, upper, right, lower = 0, 0, width, height
    # Each axis is measured within the extent of the other, so that wide margins do not dilute the profile. Two rounds
    # are enough for a stable result.
    for _ in range(3):
        left, right = _extent(field[upper:lower].mean(axis=0))
        upper, lower = _extent(field[:, left:right].mean(axis=1))
    if right - left < MIN_FIELD * width or lower - upper < MIN_FIELD * height:
        return 0, 0, image.width, image.height
    return left * factor, upper * factor, min(right * factor, image.width), min(lower * factor, image.height)


def views(field: Field) -> list[Box]:
    """The boxes of the two views that a field shows side by side, from left to right; empty where it shows one.

    They are in pixels of the picture that the field is part of.
    """
    left, upper, right, lower = field.box
    if right - left < 2 * MIN_SIDE:
        return []
    step, place = seam(field.image)
    at = left + round(place * (right - left))
    return [(left, upper, at, lower), (at, upper, right, lower)] if step > SEAM else []


def seam(image: Image.Image) -> tuple[float, float]:
    """The largest step between two neighbouring columns of a field, and its place.

    The step is the median over the rows of |a - b| / (a + b), less that of the usual column there, 0 to 1: an edge from
    top to bottom gives much, also where the tissue is dark, and speckle gives nothing. The place is a share of the
    width, SEAM_PLACE to 1 - SEAM_PLACE.
    """
    scale = SEAM_SIDE / min(image.size)
    size = [max(1, min(round(side * scale), 4 * SEAM_SIDE)) for side in image.size]
    small = image.resize((size[0], size[1]), Image.Resampling.BICUBIC, reducing_gap=3)
    grey = np.asarray(small.convert("L")).astype(np.float32) + SEAM_LEVEL / 2
    first = round(SEAM_PLACE * size[0])
    grey = grey[:, first : size[0] - first + 1]
    if grey.shape[1] < 2:
        return 0.0, 0.5
    one, other = grey[:, :-1], grey[:, 1:]
    steps = np.median(np.abs(one - other) / (one + other), axis=0)
    highest = int(np.argmax(steps))
    return float(steps[highest] - np.median(steps)), (first + highest + 1) / size[0]


def _extent(profile: np.ndarray) -> tuple[int, int]:
    """The range [start, stop) from the first to the last broad band of a profile; the whole profile if there is none.

    All broad bands count, not only the broadest, because a large cyst is as black as a margin and splits the field.
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([False], profile >= FIELD_SHARE, [False])).astype(np.int8)))
    bands: list[tuple[int, int]] = []
    for start, stop in edges.reshape(-1, 2).tolist():
        if bands and start - bands[-1][1] <= MAX_GAP * len(profile):
            bands[-1] = bands[-1][0], stop
        else:
            bands.append((start, stop))
    broad = [(start, stop) for start, stop in bands if stop - start >= MIN_BAND * len(profile)]
    return (broad[0][0], broad[-1][1]) if broad else (0, len(profile))
