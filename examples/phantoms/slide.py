"""A drawn lymph node on a whole slide: glass, a node of lymphocytes with fibrous tissue, and islands of tumour.

Drawn at 0.243 µm a pixel. Fields of one kind of tissue are drawn once, and lie turned and mirrored beside each other,
as drawing every cell of a slide would take hours. Knows nothing of files.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from examples.phantoms import histopathology
from examples.phantoms.texture import Field, noise, outline, to_bytes

FINE_MPP: Final = 0.243
FIELD: Final = 384
"""The side of a field in pixels."""


class Island(NamedTuple):
    """An elliptic island of tumour: its centre (x, y) and radii, in shares of the slide's width and height."""

    x: float
    y: float
    across: float
    down: float


class DrawnSlide(NamedTuple):
    """`pixels`: RGB, uint8 (H, W, 3). `tumour` and `tissue`: where they are, bool (H / 8, W / 8)."""

    pixels: NDArray[np.uint8]
    tumour: NDArray[np.bool_]
    tissue: NDArray[np.bool_]


COARSE: Final = 8
"""Pixels of the slide in a pixel of its masks."""
ISLANDS: Final = (Island(0.35, 0.40, 0.13, 0.10), Island(0.66, 0.62, 0.07, 0.10))


def draw(
    rng: np.random.Generator, fields: tuple[int, int], islands: Sequence[Island] = ISLANDS, variants: int = 5
) -> DrawnSlide:
    """A slide of `fields` (across, down) fields, each 384 pixels or 93 µm wide.

    `variants`: fields that are drawn of each kind of tissue.
    """
    size = fields[1] * FIELD // COARSE, fields[0] * FIELD // COARSE
    node = _ellipse(rng, size, Island(0.5, 0.5, 0.42, 0.40))
    stroma = node & (noise(rng, size, 40) > 1.2)
    tumour = np.zeros(size, bool)
    for island in islands:
        tumour |= node & _ellipse(rng, size, island)
    glass = to_bytes(np.array(histopathology.GLASS) + 0.004 * rng.standard_normal((FIELD, FIELD, 3)))
    pixels = np.tile(glass, (fields[1], fields[0], 1))
    for where, kind in (
        (node, histopathology.node_field),
        (stroma, histopathology.stroma_field),
        (tumour, histopathology.tumour_field),
    ):
        _paint(rng, pixels, where, [kind(rng) for _ in range(variants)])
    return DrawnSlide(pixels, tumour, node)


def _ellipse(rng: np.random.Generator, size: tuple[int, int], place: Island) -> NDArray[np.bool_]:
    centre = place.y * size[0], place.x * size[1]
    found: Field = outline(rng, size, centre, (place.across * size[1], place.down * size[0]), wobble=0.06)
    return found < 1


def _paint(
    rng: np.random.Generator, pixels: NDArray[np.uint8], where: NDArray[np.bool_], fields: Sequence[NDArray[np.uint8]]
) -> None:
    """Lay fields over the part `where` of the slide."""
    for row in range(pixels.shape[0] // FIELD):
        for column in range(pixels.shape[1] // FIELD):
            place = (slice(row * FIELD, (row + 1) * FIELD), slice(column * FIELD, (column + 1) * FIELD))
            part = where[tuple(slice(side.start // COARSE, side.stop // COARSE) for side in place)]
            field = np.rot90(fields[int(rng.integers(len(fields)))], int(rng.integers(4)))
            field = field[:, ::-1] if rng.random() < 0.5 else field
            if part.any():
                there = part.repeat(COARSE, axis=0).repeat(COARSE, axis=1)
                pixels[place][there] = field[there]
