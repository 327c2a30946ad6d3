"""A picture of known scale -> tiles that show what a task's networks learned from: as much tissue, in as many pixels.

Knows sizes and micrometres per pixel. It knows no network, and not where the scale was stated.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from PIL import Image

from src.pictures.picture import Box, ImageRefused, Shares

ABOUT: Final = 0.1
"""The share by which a tile may be larger or smaller than the field: a picture of about one field is one tile."""
MAX_TILES: Final = 36
"""Tiles of a picture. Each takes as long as a picture of its own, some 0.1 s of a core, and a visitor's turn has 20
seconds on cores that others use too."""


class Tile(NamedTuple):
    """A tile of a picture.

    `image`: RGB, square, in the pixels that the networks learned from. `box`: its place in the picture, in pixels.
    `shown`: the part of `image` that shows the picture (left, upper, right, lower, in shares); the rest mirrors it.
    """

    image: Image.Image
    box: Box
    shown: Shares


def tiles(image: Image.Image, mpp: float, field: float, side: int) -> list[Tile]:
    """The tiles of an RGB picture, row by row.

    `mpp`: its micrometres per pixel. `field`: the side of a tile in micrometres. `side`: its side in pixels. Tiles
    cover the whole picture; where they do not fit, they overlap evenly. A picture that shows less than a field is
    continued by its mirror image, which the networks read better than the same picture enlarged. Raises ImageRefused
    for more than MAX_TILES.
    """
    pixels = field / mpp
    rows, columns = _spans(image.height, pixels), _spans(image.width, pixels)
    if len(rows) * len(columns) > MAX_TILES:
        raise ImageRefused(
            f"At {mpp:.3g} µm per pixel the image shows {mpp * image.width:,.0f} × {mpp * image.height:,.0f} µm, "
            f"which is {len(rows) * len(columns):,} tiles of {field:.0f} µm; at most {MAX_TILES} are read at a time, "
            "so cut it into parts."
        )
    return [_tile(image, (left, upper, right, lower), pixels, side) for upper, lower in rows for left, right in columns]


def _tile(image: Image.Image, box: Box, pixels: float, side: int) -> Tile:
    """The tile at `box`, of which a whole field would have `pixels` in width and height."""
    width, height = (_scaled(length, pixels, side) for length in (box[2] - box[0], box[3] - box[1]))
    unchanged = box == (0, 0, width, height) == (0, 0, *image.size)
    scaled = image if unchanged else image.resize((width, height), Image.Resampling.BICUBIC, box=box)
    left, upper = (side - width) // 2, (side - height) // 2
    if (width, height) != (side, side):
        margins = (upper, side - height - upper), (left, side - width - left), (0, 0)
        scaled = Image.fromarray(np.pad(np.asarray(scaled), margins, mode="symmetric"))
    return Tile(scaled, box, (left / side, upper / side, (left + width) / side, (upper + height) / side))


def _scaled(length: int, pixels: float, side: int) -> int:
    return side if length >= (1 - ABOUT) * pixels else max(1, round(length / pixels * side))


def _spans(length: int, pixels: float) -> list[tuple[int, int]]:
    """Where the tiles along an axis of `length` pixels start and stop."""
    number = math.ceil(length / ((1 + ABOUT) * pixels))
    span = min(max(pixels, length / number), length)
    step = (length - span) / max(1, number - 1)
    return [(round(i * step), round(i * step + span)) for i in range(number)]
