"""The scored tiles of a slide, and what they say about it: highest scores, hot spots, areas.

Knows no file and no network. A slide's scores are not calibrated: the networks learned tiles, and no slide had a label.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from src.slides.grid import Grid, Region

SPOTS: Final = 10
"""Hot spots at most."""
APART_UM: Final = 200.0
"""Micrometres between the centres of two hot spots, at least: about two tiles."""
HIGH: Final = 0.999
"""The quantile of p(malignant) that is less sensitive than the highest value to a single tile."""


@dataclass(frozen=True)
class Spot:
    """A hot spot: the tile with the highest p(malignant) in its surroundings.

    `box`: the tile in pixels of level 0. `x_mm` and `y_mm`: its centre, from the slide's upper left corner. `unlike`:
    whether the gate says that it does not look like the task's images.
    """

    box: Region
    x_mm: float
    y_mm: float
    p_malignant: float
    unlike: bool


@dataclass(frozen=True)
class Tiles:
    """All tiles of a slide that were scored, row by row.

    `cells`: row and column of each in the grid, int (N, 2). `p_malignant`: float32 (N,). `unlike`: whether the gate
    rejects the tile of its group (`Grid.groups`), bool (N,). `scale`: pixels of level 0 in a pixel of the grid. `mpp`:
    micrometres per pixel of level 0.
    """

    grid: Grid
    scale: float
    mpp: float
    cells: np.ndarray
    p_malignant: np.ndarray
    unlike: np.ndarray

    @cached_property
    def boxes(self) -> np.ndarray:
        """The tiles in pixels of level 0: x, y, width and height, int64 (N, 4). At the slide's edge a tile reaches out
        of it."""
        inset = (self.grid.side - self.grid.stride) // 2
        corners = np.rint((self.cells[:, ::-1] * self.grid.stride - inset) * self.scale)
        return np.column_stack([corners, np.full_like(corners, round(self.grid.side * self.scale))]).astype(np.int64)

    @cached_property
    def map(self) -> np.ndarray:
        """p(malignant) of each cell, float32 `Grid.shape`; NaN where there is no tile."""
        return on_grid(self.grid, self.cells, self.p_malignant)

    @property
    def cell_mm(self) -> float:
        """The side of a cell in millimetres."""
        return self.grid.stride * self.scale * self.mpp / 1000

    def area_mm2(self, threshold: float) -> float:
        """The area of all cells with p(malignant) >= `threshold`, in square millimetres."""
        return float((self.p_malignant >= threshold).sum()) * self.cell_mm**2

    def spots(self) -> list[Spot]:
        """The hot spots, the hottest first: tiles in descending order, without those near an earlier one."""
        apart = APART_UM / 1000 / self.cell_mm
        free = np.ones(len(self.cells), bool)
        found = []
        # Sorted stably, so that of equal scores the upper left one comes first.
        for index in np.argsort(-self.p_malignant, kind="stable"):
            if not free[index]:
                continue
            found.append(self._spot(int(index)))
            if len(found) == SPOTS:
                break
            free &= np.square(self.cells - self.cells[index]).sum(axis=1) >= apart**2
        return found

    def _spot(self, index: int) -> Spot:
        x, y, width, height = (int(value) for value in self.boxes[index])
        return Spot(
            Region(x, y, width, height),
            (x + width / 2) * self.mpp / 1000,
            (y + height / 2) * self.mpp / 1000,
            float(self.p_malignant[index]),
            bool(self.unlike[index]),
        )


def on_grid(grid: Grid, cells: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`values` (N,) of the `cells` (N, 2) on the whole grid, float32 `Grid.shape`; NaN where there is no cell."""
    whole = np.full(grid.shape, np.nan, np.float32)
    whole[cells[:, 0], cells[:, 1]] = values
    return whole
