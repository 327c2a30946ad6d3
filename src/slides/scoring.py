"""A slide's tiles -> their scores: readers in threads, the network, and the store.

Knows nothing of thresholds and of the files that are written from the scores.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from src.models.predictor import Predictor
from src.pictures.picture import ImageRefused
from src.read_ahead import read_ahead
from src.slides.grid import Block, Grid, Region
from src.slides.readers import ReaderDied, Readers
from src.slides.score_store import BlockScores, ScoreStore
from src.slides.slide import Reading

THREADS: Final = 2
"""Threads that read and prepare tiles, each with a reader process."""
DEPTH: Final = 3
"""Blocks that are read or wait for the network, at most: some 15 MB each."""
BATCH: Final = 32
"""Tiles that the network gets at once."""
OVERVIEW_SOURCE: Final = 2048
"""The side of the parts in which an overview is read, in pixels of the level that it is read from."""
MOST_UNREADABLE: Final = 0.1
"""Share of the overview that may be unreadable. In a file that was cut off, it is more."""
LEAST_COUNTED: Final = 20
"""Parts that must be unreadable, at least, before an overview is given up early."""


class Prepared(NamedTuple):
    """The tiles of a block, ready for the network.

    `batches`: `Predictor.tile_pixels` of BATCH tiles at a time, (N, C, side, side) together. `judged_tiles`: those that
    the gate judges, and `judged` their indices. `group`: for each tile, which of the judged ones stands for it,
    int (N,).
    """

    batches: list[Tensor]
    judged_tiles: list[Image.Image]
    judged: np.ndarray
    group: np.ndarray


class FailedBlock(NamedTuple):
    """A block that cannot be read: its place in pixels of level 0, and the reason in one sentence."""

    region: Region
    reason: str


def overview(readers: Readers, how: Reading, size: tuple[int, int], advance: Callable[[int], None]) -> np.ndarray:
    """The whole slide at a coarse scale, RGB, uint8 (H, W, 3). Parts that cannot be read are white.

    `size`: width and height at that scale. `advance` is called with 0 to 100 percent. Raises ImageRefused if more than
    MOST_UNREADABLE of the parts cannot be read.
    """
    width, height = size
    side = int(OVERVIEW_SOURCE / max(how.ratio, 1))
    parts = [
        Region(x, y, min(side, width - x), min(side, height - y))
        for y in range(0, height, side)
        for x in range(0, width, side)
    ]
    whole = np.full((height, width, 3), 255, np.uint8)
    failed = 0

    def read(part: Region) -> tuple[Region, np.ndarray | None]:
        try:
            return part, readers.read(how, *part)
        except ReaderDied:
            raise
        except ImageRefused:
            return part, None

    for number, (part, pixels) in enumerate(read_ahead(read, parts, THREADS, DEPTH), start=1):
        if pixels is not None:
            whole[part.y : part.y + part.height, part.x : part.x + part.width] = pixels
        failed += pixels is None
        if failed > max(LEAST_COUNTED, MOST_UNREADABLE * len(parts)) or (
            number == len(parts) and failed > MOST_UNREADABLE * len(parts)
        ):
            raise ImageRefused(
                f"The file is cut off or damaged: {failed:,} of the {number:,} parts of the slide that were tried "
                "cannot be read."
            )
        advance(100 * number // len(parts))
    return whole


def score_blocks(
    readers: Readers,
    how: Reading,
    grid: Grid,
    blocks: Sequence[Block],
    predictor: Predictor,
    store: ScoreStore,
    all_views: bool,
    advance: Callable[[int], None],
) -> list[FailedBlock]:
    """Score the tiles of all blocks that `store` lacks, and store them. Returns the blocks that cannot be read.

    `advance` is called with the number of tiles of each block. Raises ReaderDied where the slide kills its readers.
    """
    failed = []
    stored = store.numbers()
    missing = [block for block in blocks if block.number not in stored]
    prepare = partial(_prepare, readers, how, grid, predictor)
    for block, prepared in zip(missing, read_ahead(prepare, missing, THREADS, DEPTH), strict=True):
        if isinstance(prepared, ImageRefused):
            failed.append(FailedBlock(grid.region(block), str(prepared)))
        else:
            store.keep(block.number, _score(predictor, prepared, all_views))
        advance(int(block.chosen.sum()))
    return failed


def stored_tiles(blocks: Sequence[Block], store: ScoreStore) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The cells (row, column), int (N, 2), p(malignant) and the gate's scores, (N,), of each stored block."""
    for block in blocks:
        scores = store.get(block.number)
        if scores is not None:
            rows, columns = np.nonzero(block.chosen)
            yield np.stack([rows + block.row, columns + block.column], axis=1), *scores


def _prepare(readers: Readers, how: Reading, grid: Grid, predictor: Predictor, block: Block) -> Prepared | ImageRefused:
    """The tiles of a block, or the reason why they cannot be read."""
    region = grid.region(block)
    try:
        pixels = readers.read(how, *region)
    except ReaderDied:
        raise
    except ImageRefused as refusal:
        return refusal
    corners = grid.corners(block) - (region.x, region.y)

    def tiles(chosen: np.ndarray) -> list[Image.Image]:
        return [Image.fromarray(pixels[y : y + grid.side, x : x + grid.side]) for x, y in corners[chosen]]

    # Batch by batch, because the images of all tiles would take several times the memory of the tensors.
    numbers = np.arange(len(corners))
    batches = [predictor.tile_pixels(tiles(numbers[first : first + BATCH])) for first in numbers[::BATCH]]
    judged, group = grid.groups(block)
    return Prepared(batches, tiles(judged), judged, group)


def _score(predictor: Predictor, prepared: Prepared, all_views: bool) -> BlockScores:
    """The scores of a block. Its batches are the same in each run, as the last digits of a score depend on them."""
    answers = [predictor.score_tiles(pixels, all_views) for pixels in prepared.batches]
    features = torch.cat([features for _, features in answers])
    gate = predictor.gate_scores(prepared.judged_tiles, features[prepared.judged])
    p_malignant = np.concatenate([scores for scores, _ in answers])
    return BlockScores(p_malignant.astype(np.float32), gate[prepared.group].astype(np.float32))
