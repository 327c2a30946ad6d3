"""One slide -> its folder of results: overview, tissue, tiles, scores, and the files that describe them.

Knows the order of the steps and the names of the files. It knows neither the command line nor the page.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from src.models.predictor import Predictor
from src.models.tta import SYMMETRIES
from src.pictures.picture import ImageRefused
from src.slides import files, grid, report, scoring, tissue
from src.slides.readers import Readers
from src.slides.report import SlideReport
from src.slides.score_store import ScoreStore
from src.slides.slide import LEAST_MPP, MOST_MPP, About, Reading
from src.slides.tiles import Tiles

LEAST_STRIDE: Final = 8
"""Pixels of the network between two tiles, at least: a smaller stride says nothing new."""
MUCH_UNLIKE: Final = 0.2
"""The share of tiles that the gate rejects, above which a warning says so: 0 to 0.1 on lymph nodes, 0.33 on skin."""
COARSER: Final = 1.1
"""A slide whose level 0 is coarser than the network's scale by this factor is enlarged, which is said."""

NO_TILES: Final = "No tissue was found on this slide; --all-tiles reads the whole slide."
LITTLE_TISSUE: Final = "Only {:.2%} of the slide looks like tissue; --all-tiles reads the whole slide."
UNLIKE: Final = (
    "{:.0%} of the tiles do not look like the {} that the network learned from, so its scores mean little here."
)
ENLARGED: Final = "The slide has {:.2g} µm per pixel and the network learned at {:.2g}, so its tiles were enlarged."
FAILED: Final = "{:,} of {:,} blocks of tiles cannot be read and were left out: {}"


@dataclass(frozen=True)
class Options:
    """How a slide is read.

    `threshold`: p(malignant) from which a cell counts as hot. `stride`: between tiles, in pixels of the network's
    scale. `mpp`: micrometres per pixel of level 0, None if the file is to say it. `all_tiles`: read the whole slide,
    not its tissue alone. `all_views`: as in `Predictor.score_tiles`.
    """

    threshold: float
    stride: int = 32
    mpp: float | None = None
    all_tiles: bool = False
    all_views: bool = False


class Progress(NamedTuple):
    """Functions that a run calls: `overview` with percents, `begin` with the number of tiles and of those that are
    stored already, and `advance` with a number of tiles."""

    overview: Callable[[int], None]
    begin: Callable[[int, int], None]
    advance: Callable[[int], None]


SILENT: Final = Progress(lambda _: None, lambda *_: None, lambda _: None)


def check(options: Options, side: int) -> None:
    """Raise ImageRefused if an option cannot be used. `side`: of the network's tiles, in pixels."""
    if options.mpp is not None and not LEAST_MPP <= options.mpp <= MOST_MPP:
        raise ImageRefused(f"--mpp must be {LEAST_MPP:g} to {MOST_MPP:g} µm per pixel.")
    if not LEAST_STRIDE <= options.stride <= side:
        raise ImageRefused(f"--stride must be {LEAST_STRIDE} to {side} pixels.")


def run(path: Path, folder: Path, predictor: Predictor, options: Options, progress: Progress = SILENT) -> SlideReport:
    """Score the slide at `path`, or continue, and write all files into `folder`, which is made.

    The task of `predictor` has a physical scale. Raises ImageRefused for a slide, an option or a folder that cannot be
    used, and OSError where the folder cannot be written.
    """
    side, mpp = predictor.task.input_side, predictor.task.mpp
    assert mpp is not None
    check(options, side)
    with closing(Readers(path, options.mpp)) as readers:
        about = readers.about
        how, coarse = about.reading(mpp), about.reading(tissue.OVERVIEW_MPP)
        cells = grid.grid(about, how, options.stride, side)
        folder.mkdir(parents=True, exist_ok=True)
        with closing(ScoreStore(folder, _depends_on(about, how, cells, predictor, options))) as store:
            overview = scoring.overview(readers, coarse, grid.size(about, coarse), progress.overview)
            coarse_mpp = coarse.scale * about.mpp
            mask = tissue.mask(overview, coarse_mpp)
            chosen = grid.cells_with_tissue(cells, mask, coarse.scale / how.scale)
            blocks = list(cells.blocks(np.ones_like(chosen) if options.all_tiles else chosen))
            if not blocks:
                raise ImageRefused(NO_TILES)
            stored = store.numbers()
            sizes = {block.number: int(block.chosen.sum()) for block in blocks}
            progress.begin(sum(sizes.values()), sum(size for number, size in sizes.items() if number in stored))
            failed = scoring.score_blocks(
                readers, how, cells, blocks, predictor, store, options.all_views, progress.advance
            )
            # They end now, because the files below need memory too.
            readers.close()
            tiles = _tiles(cells, how, about, predictor, [*scoring.stored_tiles(blocks, store)])
            found = _report(path, about, how, predictor, options, tiles, failed, mask, coarse_mpp, len(blocks))
            files.write(folder, found, tiles, overview, coarse_mpp, mask)
        return found


def _depends_on(about: About, how: Reading, cells: grid.Grid, predictor: Predictor, options: Options) -> dict[str, Any]:
    """What the scores and their blocks depend on, in the words of the sentence that names a difference."""
    return {
        "slide": about.fingerprint,
        "micrometres per pixel": about.mpp,
        "level": [how.level.number, how.scale, cells.side],
        "model": predictor.checkpoint.config.vigil.sha256,
        "stride": options.stride,
        "tiles of a block": cells.per_block,
        "all tiles": options.all_tiles,
        "views": options.all_views,
    }


def _tiles(
    cells: grid.Grid,
    how: Reading,
    about: About,
    predictor: Predictor,
    stored: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> Tiles:
    places = np.concatenate([np.empty((0, 2), int), *(cell for cell, _, _ in stored)])
    scores = np.concatenate([np.empty(0, np.float32), *(values for _, values, _ in stored)])
    distances = np.concatenate([np.empty(0, np.float32), *(values for _, _, values in stored)])
    order = np.lexsort((places[:, 1], places[:, 0]))
    gate = predictor.checkpoint.gate
    unlike = distances > gate.config.limit if gate is not None else np.zeros(len(distances), bool)
    return Tiles(cells, how.scale, about.mpp, places[order], scores[order], unlike[order])


def _report(
    path: Path,
    about: About,
    how: Reading,
    predictor: Predictor,
    options: Options,
    tiles: Tiles,
    failed: list[scoring.FailedBlock],
    mask: np.ndarray,
    mask_mpp: float,
    blocks: int,
) -> SlideReport:
    checkpoint, task = predictor.checkpoint, predictor.task
    assert task.mpp is not None
    count, fraction = len(tiles.p_malignant), float(mask.mean())
    unlike = float(tiles.unlike.mean()) if checkpoint.gate is not None and count else None
    warnings = [*about.notes]
    if about.mpp > COARSER * task.mpp:
        warnings.append(ENLARGED.format(about.mpp, task.mpp))
    if fraction < tissue.LITTLE and not options.all_tiles:
        warnings.append(LITTLE_TISSUE.format(fraction))
    if unlike is not None and unlike > MUCH_UNLIKE:
        warnings.append(UNLIKE.format(unlike, task.look))
    if failed:
        warnings.append(FAILED.format(len(failed), blocks, failed[0].reason))
    tile_mpp = how.scale * about.mpp
    return SlideReport(
        slide=path.name,
        vendor=about.vendor,
        fingerprint=about.fingerprint,
        width=about.width,
        height=about.height,
        mpp=about.mpp,
        stated_mpp=about.stated_mpp,
        level=how.level.number,
        level_downsample=how.level.downsample,
        tile_mpp=tile_mpp,
        tile_um=task.input_side * tile_mpp,
        stride_um=options.stride * tile_mpp,
        model=checkpoint.config.vigil.name,
        revision=checkpoint.revision,
        views=len(SYMMETRIES[checkpoint.config.vigil.test_time_augmentation]) if options.all_views else 1,
        all_tiles=options.all_tiles,
        tissue_fraction=fraction,
        tissue_mm2=float(mask.sum()) * (mask_mpp / 1000) ** 2,
        tiles=count,
        complete=not failed,
        blocks=blocks,
        failed_blocks=report.failed_places(failed, about, how),
        unlike_fraction=unlike,
        threshold=options.threshold,
        highest=float(tiles.p_malignant.max()) if count else None,
        high_quantile=report.quantile(tiles),
        area_mm2=tiles.area_mm2(options.threshold),
        calibrated=False,
        spots=report.hot_spots(tiles),
        warnings=warnings,
    )
