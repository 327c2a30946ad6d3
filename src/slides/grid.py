"""The tiles of a slide: cells that cover it, a tile around each cell, and blocks of cells that are read together.

Knows sizes and numbers. It opens no file. All lengths are in pixels of the scale at which tiles are read, if nothing
else is said.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from src.slides.slide import About, Reading

BLOCK_SIDE: Final = 512
"""The side of a block, at most: some 256 tiles at a stride of 32, for which a network takes a second."""
BLOCK_SOURCE: Final = 2048
"""The side of a block in pixels of the level that it is read from, at most: such a region takes 17 MB, and some four
times as much while it is converted."""
BLOCK_TILES: Final = 256
"""Tiles of a block, at most. Without this limit, those of a block at a stride of 8 would take 100 MB."""


class Block(NamedTuple):
    """Cells that are read together: their rows and columns, and which of them have a tile, bool (rows, columns)."""

    number: int
    row: int
    column: int
    chosen: np.ndarray


class Region(NamedTuple):
    """A rectangle: its upper left corner and its size."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Grid:
    """Square cells of side `stride` over the whole slide. The tile of a cell has side `side` and the same centre.

    `width` and `height`: of the slide. `per_block`: cells along the side of a block.
    """

    width: int
    height: int
    stride: int
    side: int
    per_block: int

    @property
    def shape(self) -> tuple[int, int]:
        """The number of rows and columns of cells."""
        return math.ceil(self.height / self.stride), math.ceil(self.width / self.stride)

    def blocks(self, chosen: np.ndarray) -> Iterator[Block]:
        """The blocks that have a tile, row by row. `chosen`: bool, `shape`."""
        rows, columns = self.shape
        across = math.ceil(columns / self.per_block)
        for row in range(0, rows, self.per_block):
            for column in range(0, columns, self.per_block):
                part = chosen[row : row + self.per_block, column : column + self.per_block]
                if part.any():
                    yield Block(row // self.per_block * across + column // self.per_block, row, column, part)

    def region(self, block: Block) -> Region:
        """The smallest region that contains all tiles of a block."""
        rows, columns = np.nonzero(block.chosen)
        x, y = self._corner(block.row + int(rows.min()), block.column + int(columns.min()))
        right, lower = self._corner(block.row + int(rows.max()), block.column + int(columns.max()))
        return Region(x, y, right + self.side - x, lower + self.side - y)

    def corners(self, block: Block) -> np.ndarray:
        """The upper left corners (x, y) of the tiles of a block, int (N, 2), row by row."""
        rows, columns = np.nonzero(block.chosen)
        return np.stack(self._corner(block.row + rows, block.column + columns), axis=1)

    def groups(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """One tile of each group of cells that a single tile would show, and for each tile the number of its group.

        The first are indices of tiles, int (G,), the second is int (N,). At a stride of a third of a tile's side, a
        group has nine cells.
        """
        rows, columns = np.nonzero(block.chosen)
        many = self.side // self.stride
        # The cell next to the middle of its group stands for it.
        distance = np.hypot(rows % many - (many - 1) / 2, columns % many - (many - 1) / 2)
        keys = rows // many * block.chosen.shape[1] + columns // many
        order = np.lexsort((np.arange(len(rows)), distance, keys))
        _, first, group = np.unique(keys[order], return_index=True, return_inverse=True)
        of_tile = np.empty(len(rows), int)
        of_tile[order] = group
        return order[first], of_tile

    def _corner(self, row: "int | np.ndarray", column: "int | np.ndarray") -> tuple:
        inset = (self.side - self.stride) // 2
        return column * self.stride - inset, row * self.stride - inset


def grid(about: About, how: Reading, stride: int, side: int) -> Grid:
    """The grid of tiles of `side` pixels at the scale `how`."""
    block = min(BLOCK_SIDE, BLOCK_SOURCE / how.ratio)
    width, height = size(about, how)
    # Whole groups of cells, so that no group lies in two blocks.
    many = side // stride
    per_block = min(int(block // stride), math.isqrt(BLOCK_TILES))
    return Grid(width, height, stride, side, max(1, per_block // many) * many)


def size(about: About, how: Reading) -> tuple[int, int]:
    """Width and height of the slide at the scale `how`."""
    return math.ceil(about.width / how.scale), math.ceil(about.height / how.scale)


def cells_with_tissue(found: Grid, tissue: np.ndarray, pixel: float) -> np.ndarray:
    """Which cells show any tissue, bool `Grid.shape`.

    `tissue`: a mask of the whole slide, bool (H, W). `pixel`: the side of a pixel of the mask.
    """
    rows, columns = found.shape
    # Every pixel of the mask counts for all cells that it touches.
    first_row, last_row = _cells_touched(tissue.shape[0], pixel / found.stride, rows)
    first_column, last_column = _cells_touched(tissue.shape[1], pixel / found.stride, columns)
    y, x = np.nonzero(tissue)
    counts = np.zeros((rows + 1, columns + 1), np.int64)
    for row, row_sign in ((first_row[y], 1), (last_row[y] + 1, -1)):
        for column, column_sign in ((first_column[x], 1), (last_column[x] + 1, -1)):
            np.add.at(counts, (row, column), row_sign * column_sign)
    return counts.cumsum(axis=0).cumsum(axis=1)[:rows, :columns] > 0


def _cells_touched(pixels: int, pixel: float, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last cell that each pixel of the mask touches along an axis; `pixel` is its side in cells."""
    edges = np.arange(pixels + 1) * pixel
    first = np.floor(edges[:-1]).astype(int).clip(0, cells - 1)
    return first, (np.ceil(edges[1:]).astype(int) - 1).clip(first, cells - 1)
