"""Grids of tiles, outlines of areas, and FROC."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from src.slides import froc, grid, outlines
from src.slides.froc import Detection
from src.slides.grid import Grid
from src.slides.slide import About, Level


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 3000), height=st.integers(1, 3000), stride=st.integers(8, 96), per_block=st.integers(1, 9))
def test_blocks_have_every_chosen_cell_once_and_regions_hold_their_tiles(
    width: int, height: int, stride: int, per_block: int
) -> None:
    cells = Grid(width, height, stride, 96, per_block)
    chosen = np.random.default_rng(width).random(cells.shape) < 0.3
    seen, numbers = np.zeros(cells.shape, int), set()
    for block in cells.blocks(chosen):
        rows, columns = np.nonzero(block.chosen)
        seen[block.row + rows, block.column + columns] += 1
        numbers.add(block.number)
        region, corners = cells.region(block), cells.corners(block)
        assert corners.min(axis=0).tolist() == [region.x, region.y]
        assert (corners + 96 <= (region.x + region.width, region.y + region.height)).all()
        judged, group = cells.groups(block)
        assert len(group) == len(corners)
        assert (np.abs(corners[judged][group] - corners) < 96).all(), "the tile that stands for another overlaps it"
    assert (seen == chosen).all()
    assert len(numbers) == len(list(cells.blocks(chosen)))


@pytest.mark.parametrize("stride", [8, 16, 24, 32, 50, 96])
@pytest.mark.parametrize("mpp", [0.243, 0.97])
def test_a_block_is_small_whatever_the_stride(stride: int, mpp: float) -> None:
    about = About("", 50_000, 40_000, mpp, mpp, (Level(0, 50_000, 40_000, 1.0),), "", ())
    how = about.reading(0.97)
    cells = grid.grid(about, how, stride, 96)
    assert 1 < cells.per_block**2 <= grid.BLOCK_TILES
    assert cells.per_block % (96 // stride) == 0, "a group lies in two blocks"
    assert (cells.per_block - 1) * stride + 96 <= grid.BLOCK_SIDE + 96
    assert ((cells.per_block - 1) * stride + 96) * how.ratio <= grid.BLOCK_SOURCE + 96 * how.ratio


def test_a_group_of_cells_is_what_one_tile_shows() -> None:
    cells = Grid(32 * 9, 32 * 9, 32, 96, 9)
    (block,) = cells.blocks(np.ones(cells.shape, bool))
    judged, group = cells.groups(block)
    assert len(judged) == 9
    assert sorted(cells.corners(block)[judged].tolist()) == [[x, y] for x in (0, 96, 192) for y in (0, 96, 192)]
    assert np.bincount(group).tolist() == [9] * 9


def test_a_cell_is_read_if_the_mask_touches_it() -> None:
    cells = Grid(320, 320, 32, 96, 5)
    mask = np.zeros((40, 40), bool)
    mask[4, 7] = True  # rows 32 to 40 and columns 56 to 64 of the grid
    assert np.argwhere(grid.cells_with_tissue(cells, mask, 8.0)).tolist() == [[1, 1]]
    assert np.argwhere(grid.cells_with_tissue(cells, mask, 8.3)).tolist() == [[1, 1], [1, 2]]


def inside(rings: list[list[tuple[int, int]]], x: float, y: float) -> bool:
    """Even-odd rule."""
    crossings = 0
    for ring in rings:
        for (x0, y0), (x1, y1) in itertools.pairwise(ring):
            crossings += (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    return crossings % 2 == 1


@settings(max_examples=80, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_outlines_enclose_exactly_the_cells_of_their_area(mask: np.ndarray) -> None:
    found = outlines.areas(np.where(mask, 0.8, np.nan), 0.5)
    enclosed = np.zeros(mask.shape, int)
    for area in found:
        for row, column in np.ndindex(mask.shape):
            enclosed[row, column] += inside(area.rings, column + 0.5, row + 0.5)
        for ring in area.rings:
            assert ring[0] == ring[-1]
            assert len(set(ring)) == len(ring) - 1, "no ring touches itself"
    assert (enclosed == mask).all()
    assert sum(area.cells for area in found) == mask.sum()
    assert [area.cells for area in found] == sorted((area.cells for area in found), reverse=True)


def lesion(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((400, 400), bool)
    for x, y, width, height in boxes:
        mask[y : y + height, x : x + width] = True
    return mask


def test_lesions_near_each_other_are_one_and_isolated_cells_do_not_count() -> None:
    # At 5 µm per pixel, 75 µm are 15 pixels and 275 µm are 55.
    near = froc.lesions(lesion((50, 50, 100, 60), (155, 50, 60, 60), (300, 300, 10, 10)), 5.0)
    assert near.labels.max() == 2
    assert near.isolated == {int(near.labels[305, 305])}
    apart = froc.lesions(lesion((50, 50, 100, 60), (190, 50, 60, 60)), 5.0)
    assert apart.labels.max() == 2
    assert not apart.isolated
    assert froc.lesions(lesion(), 5.0).labels.max() == 0


def test_froc_by_hand() -> None:
    first = froc.lesions(lesion((50, 50, 100, 60), (200, 200, 80, 80), (350, 20, 8, 8)), 5.0)
    empty = froc.lesions(lesion(), 5.0)
    detections = [
        Detection(0.9, 100, 80),  # finds the first lesion
        Detection(0.8, 101, 81),  # finds it again
        Detection(0.7, 10, 390),  # wrong
        Detection(0.6, 240, 240),  # finds the second lesion
        Detection(0.5, 353, 24),  # isolated cells
    ]
    curve = froc.froc([(detections, first), ([Detection(0.95, 5, 5)], empty)])
    assert curve.false_positives.tolist() == [0.5, 0.5, 1.0, 1.0]
    assert curve.sensitivity.tolist() == [0.0, 0.5, 0.5, 1.0]
    # 0.25 false positives per slide: none found; 0.5: one lesion; from 1 on: both.
    assert curve.score == pytest.approx((0 + 0.5 + 1 + 1 + 1 + 1) / 6)
    assert np.isnan(froc.froc([(detections, empty)]).score)
    with pytest.raises(ValueError, match="no slides"):
        froc.froc([])
