"""Connected areas of a map -> polygons along the edges of its cells. Knows nothing of slides."""

import itertools
from collections import defaultdict
from typing import Final, NamedTuple

import numpy as np
from scipy import ndimage

MOST: Final = 1000
"""Areas at most, the largest ones: a viewer draws no more at once."""

Point = tuple[int, int]
"""Column and row of a corner of a cell."""


class Area(NamedTuple):
    """Cells that are connected by their sides.

    `rings`: closed, the outer one first and then those of the holes, in corners of cells. `cells`: their number.
    `highest`: the highest value among them.
    """

    rings: list[list[Point]]
    cells: int
    highest: float


def areas(values: np.ndarray, threshold: float) -> list[Area]:
    """The areas with values >= `threshold`, the largest first. `values`: (H, W), NaN where there is none."""
    labels, number = ndimage.label(np.nan_to_num(values, nan=-np.inf) >= threshold)
    sizes = np.bincount(labels.ravel(), minlength=number + 1)
    order = sorted(range(1, number + 1), key=lambda label: (-sizes[label], label))[:MOST]
    places = ndimage.find_objects(labels)
    found = []
    for label in order:
        place = places[label - 1]
        part = labels[place] == label
        corner = place[1].start, place[0].start
        found.append(Area(_rings(part, corner), int(sizes[label]), float(values[place][part].max())))
    return found


def _rings(cells: np.ndarray, corner: Point) -> list[list[Point]]:
    """The rings around `cells`, bool (H, W), whose upper left corner is `corner`."""
    padded = np.pad(cells, 1)
    following: dict[Point, list[Point]] = defaultdict(list)
    # The edges of each cell, clockwise, where no other cell of the area lies beyond.
    for (row, column), start, end in (
        ((-1, 0), (0, 0), (1, 0)),
        ((0, 1), (1, 0), (1, 1)),
        ((1, 0), (1, 1), (0, 1)),
        ((0, -1), (0, 1), (0, 0)),
    ):
        beyond = padded[1 + row : padded.shape[0] - 1 + row, 1 + column : padded.shape[1] - 1 + column]
        for y, x in np.argwhere(cells & ~beyond).tolist():
            following[x + start[0], y + start[1]].append((x + end[0], y + end[1]))
    rings = []
    while following:
        first = min(following, key=lambda point: (point[1], point[0]))
        ring = [first]
        while True:
            point = _next(following, ring)
            if point in ring:
                # A ring that touches itself, as two holes that meet by a corner do, is two rings.
                first_time = ring.index(point)
                rings.append(_corners(ring[first_time:], corner))
                del ring[first_time + 1 :]
                if first_time == 0:
                    break
            else:
                ring.append(point)
    return sorted(rings, key=_area, reverse=True)


def _next(following: dict[Point, list[Point]], ring: list[Point]) -> Point:
    """The end of the edge that continues a ring; the edge is removed."""
    at = ring[-1]
    ends = following[at]
    chosen = ends[0]
    if len(ends) > 1 and len(ring) > 1:
        # Two cells touch here by a corner. A turn to the right stays with the same cell.
        across, down = at[0] - ring[-2][0], at[1] - ring[-2][1]
        chosen = at[0] - down, at[1] + across
    ends.remove(chosen)
    if not ends:
        del following[at]
    return chosen


def _area(ring: list[Point]) -> float:
    """The area within a closed ring, in cells; negative for a hole, which runs the other way round."""
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in itertools.pairwise(ring)) / 2


def _corners(points: list[Point], corner: Point) -> list[Point]:
    """A ring of `points` closed, without the points between two corners, moved by `corner`."""
    kept = [
        (x + corner[0], y + corner[1])
        for (x, y), before, after in zip(points, points[-1:] + points[:-1], points[1:] + points[:1], strict=True)
        if (before[0] == x) != (x == after[0]) or (before[1] == y) != (y == after[1])
    ]
    return [*kept, kept[0]]
