"""Slide files for tests, made by tifffile: tiled TIFFs that OpenSlide reads, from pixels or from repeated tiles."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from PIL import Image

TILE: Final = 256
MICROMETRES_PER_CM: Final = 10_000


def write(
    file: Path,
    pixels: np.ndarray,
    mpp: float | None,
    factors: Sequence[int] = (1,),
    compression: str | None = "jpeg",
    **options: Any,
) -> Path:
    """A slide with level 0 `pixels`, uint8 (H, W, 3), and a level for each further factor; returns `file`.

    `mpp`: micrometres per pixel, None for a file that does not say it.
    """
    settings = {"tile": (TILE, TILE), "photometric": "rgb", "compression": compression, "metadata": None, **options}
    if compression == "jpeg":
        settings.setdefault("compressionargs", {"level": 90})
    if mpp is not None:
        settings |= {"resolution": (MICROMETRES_PER_CM / mpp,) * 2, "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(file, bigtiff=True) as out:
        for factor in factors:
            out.write(reduced(pixels, factor), subfiletype=int(factor > 1), **settings)
    return file


def spoil(file: Path, share: float) -> None:
    """Overwrite a share of the tiles of level 0, which the last bytes of the file are not."""
    with tifffile.TiffFile(file) as opened:
        page = opened.pages[0]
        spans = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    with file.open("r+b") as out:
        for offset, length in spans[:: round(1 / share)]:
            out.seek(offset)
            out.write(b"\xff" * length)


def reduced(pixels: np.ndarray, factor: float) -> np.ndarray:
    """`pixels` at 1 / `factor` of their width and height."""
    height, width = pixels.shape[:2]
    size = round(width / factor), round(height / factor)
    return np.asarray(
        Image.fromarray(pixels).resize(
            size, Image.Resampling.BOX if factor == int(factor) else Image.Resampling.BICUBIC
        )
    )
