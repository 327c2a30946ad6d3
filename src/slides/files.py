"""The files of a slide's folder. Each is written beside its place first, so that none is ever half there."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from src.exports.spreadsheet import Writer
from src.slides import geojson, heat_map
from src.slides.report import SlideReport
from src.slides.tiles import Tiles

TILES, TABLE, REPORT = "tiles.parquet", "tiles.csv", "slide.json"
HEAT_MAP, TISSUE, SPOTS = "heatmap.png", "tissue.png", "spots.geojson"
COLUMNS: Final = ("x", "y", "width", "height", "p_malignant", "unlike")
"""The columns of the tiles: place in pixels of level 0, score, and whether the gate rejects the tile."""


def write(
    folder: Path, report: SlideReport, tiles: Tiles, overview: np.ndarray, overview_mpp: float, mask: np.ndarray
) -> None:
    """Write all files but the CSV; slide.json last, so that whoever finds it finds the others. Raises OSError."""
    drawn = heat_map.draw(overview, overview_mpp, tiles, report.spots, report.threshold)
    spots = geojson.collection(tiles, report.spots, report.threshold, report.fingerprint)
    whole(folder / TILES, lambda file: pq.write_table(_table(tiles), file))
    whole(folder / TISSUE, lambda file: Image.fromarray(mask).save(file, "PNG"))
    whole(folder / HEAT_MAP, lambda file: drawn.save(file, "PNG"))
    whole(folder / SPOTS, lambda file: file.write_text(json.dumps(spots), encoding="utf-8"))
    whole(folder / REPORT, lambda file: file.write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8"))


def write_csv(folder: Path) -> None:
    """Write the tiles once more, as CSV. Raises OSError."""

    def save(file: Path) -> None:
        with file.open("w", encoding="utf-8", newline="") as out:
            writer = Writer(out, COLUMNS)
            for x, y, width, height, p_malignant, unlike in read_tiles(folder, COLUMNS):
                cells = (f"{x}", f"{y}", f"{width}", f"{height}", f"{p_malignant:.6f}", f"{unlike:d}")
                writer.write(dict(zip(COLUMNS, cells, strict=True)))

    whole(folder / TABLE, save)


def whole(file: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write a file that is then at `file`, completely or not at all. Raises OSError."""
    beside = file.with_name(f"{file.name}.part")
    save(beside)
    beside.replace(file)


def read_map(folder: Path, report: SlideReport) -> np.ndarray:
    """p(malignant) of each cell of the slide that `report` is about, float32 (rows, columns); NaN where there is none.

    Raises OSError.
    """
    cell = cell_side(report)
    found = np.full((math.ceil(report.height / cell), math.ceil(report.width / cell)), np.nan, np.float32)
    for x, y, width, p_malignant in read_tiles(folder, ("x", "y", "width", "p_malignant")):
        row, column = int((y + width / 2) / cell), int((x + width / 2) / cell)
        if 0 <= row < found.shape[0] and 0 <= column < found.shape[1]:
            found[row, column] = p_malignant
    return found


def cell_side(report: SlideReport) -> float:
    """The side of a cell, in pixels of level 0."""
    return report.stride_um / report.mpp


def _table(tiles: Tiles) -> pa.Table:
    x, y, width, height = (pa.array(column, pa.int32()) for column in tiles.boxes.T)
    scores = pa.array(tiles.p_malignant, pa.float32()), pa.array(tiles.unlike, pa.bool_())
    return pa.Table.from_arrays([x, y, width, height, *scores], names=list(COLUMNS))


def read_tiles(folder: Path, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The `columns` of the tiles in `folder`, tile by tile. Raises OSError."""
    # Without pyarrow's threads, which sometimes abort a process that ends soon after.
    file = pq.ParquetFile(BytesIO((folder / TILES).read_bytes()), pre_buffer=False)
    table = file.read(list(columns), use_threads=False).to_pydict()
    return zip(*(table[name] for name in columns), strict=True)
