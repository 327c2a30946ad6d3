"""heatmap.png: the scores of a slide over its overview, with hot spots, a scale bar and a legend."""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from src.exports.heat_map import OPACITY, palette
from src.slides.report import HotSpot
from src.slides.tiles import Tiles

LONGEST, SHORTEST = 2400, 800
"""Pixels of the slide's longer side in the drawing, at most and at least."""
LEAST_WIDTH: Final = 560
"""Pixels of the drawing's width, at least: the legend has this place."""
FOOT: Final = 72
"""Pixels of the strip below the slide."""
BAR_UNITS: Final = (1, 2, 5)
INK: Final = "#1a1a1a"


def draw(
    overview: np.ndarray, overview_mpp: float, tiles: Tiles, spots: Sequence[HotSpot], threshold: float
) -> Image.Image:
    """The drawing, RGB. `overview`: RGB, uint8 (H, W, 3), at `overview_mpp` micrometres per pixel. Of the spots, those
    with p(malignant) >= `threshold` are marked."""
    height, width = overview.shape[:2]
    longer = max(width, height)
    scale = min(max(longer, SHORTEST), LONGEST) / longer
    size = max(1, round(width * scale)), max(1, round(height * scale))
    mpp = overview_mpp * width / size[0]
    slide = Image.fromarray(overview).resize(size, Image.Resampling.BICUBIC)
    slide = _over(slide, tiles, mpp)
    drawn = Image.new("RGB", (max(size[0], LEAST_WIDTH), size[1] + FOOT), "white")
    drawn.paste(slide, (0, 0))
    pen = ImageDraw.Draw(drawn)
    for number, spot in enumerate(spots, start=1):
        if spot.p_malignant >= threshold:
            _mark(pen, number, spot, tiles.mpp / mpp)
    _scale_bar(pen, mpp, size[0], size[1] + 8)
    _legend(drawn, pen, threshold, size[1] + 40)
    return drawn


def colours(p_malignant: np.ndarray) -> np.ndarray:
    """The colours of scores (H, W), NaN where there is none: RGBA, uint8 (H, W, 4), as opaque as the score is high."""
    levels = np.rint(np.nan_to_num(p_malignant, nan=0.0) * 255).astype(np.uint8)
    table = np.frombuffer(palette(), np.uint8).reshape(256, 3)
    return np.dstack([table[levels], levels])


def _over(slide: Image.Image, tiles: Tiles, mpp: float) -> Image.Image:
    """The scores over the slide, cell by cell."""
    side = tiles.cell_mm * 1000 / mpp
    rows, columns = tiles.grid.shape
    layer = Image.fromarray(colours(tiles.map))
    width, height = max(1, round(columns * side)), max(1, round(rows * side))
    layer = layer.resize((width, height), Image.Resampling.NEAREST if side >= 1 else Image.Resampling.BOX)
    opacity = layer.getchannel("A").point([round(value * OPACITY) for value in range(256)])
    slide.paste(layer.convert("RGB"), (0, 0), opacity)
    return slide


def _mark(pen: ImageDraw.ImageDraw, number: int, spot: HotSpot, scale: float) -> None:
    """A ring around a hot spot, and its number. `scale`: pixels of the drawing in a pixel of level 0."""
    x, y = (spot.x + spot.width / 2) * scale, (spot.y + spot.height / 2) * scale
    radius = max(8.0, spot.width * scale / 2)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=INK, width=2)
    pen.text((x + radius + 2, y - radius), str(number), fill=INK, font=_font(16), stroke_width=2, stroke_fill="white")


def _scale_bar(pen: ImageDraw.ImageDraw, mpp: float, width: int, top: int) -> None:
    """A bar of a round length, about a fifth of the slide's width."""
    wanted = max(width / 5, 40) * mpp
    power = 10 ** math.floor(math.log10(wanted))
    length = max(unit * power for unit in BAR_UNITS if unit * power <= wanted)
    pen.rectangle((8, top + 6, 8 + length / mpp, top + 11), fill=INK)
    text = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    pen.text((16 + length / mpp, top), text, fill=INK, font=_font(16))


def _legend(drawn: Image.Image, pen: ImageDraw.ImageDraw, threshold: float, top: int) -> None:
    """The colours from 0 to 1 as they look over white, with a mark at the threshold."""
    ramp = Image.fromarray(colours(np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(14, axis=0)))
    opacity = ramp.getchannel("A").point([round(value * OPACITY) for value in range(256)])
    pen.text((8, top), "p(malignant) of a tile  0", fill=INK, font=_font(16))
    left = 8 + round(pen.textlength("p(malignant) of a tile  0 ", font=_font(16)))
    drawn.paste(ramp.convert("RGB"), (left, top + 4), opacity)
    pen.rectangle((left, top + 4, left + 255, top + 17), outline=INK)
    at = left + round(255 * threshold)
    pen.line((at, top, at, top + 21), fill=INK, width=2)
    pen.text((left + 262, top), "1", fill=INK, font=_font(16))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Pillow's own font has no µ.
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
