"""Draws a heat map over its image, or gives both as layers, which the page lays over each other.

Knows colours and pixels, but not the class that a heat map explains.
"""

from dataclasses import dataclass
from functools import cache

import imagecodecs
import numpy as np
from PIL import Image, ImageDraw

from src.models.prediction import HeatMap
from src.pictures.picture import Box

COLOURS = "viridis"
"""This colour map is perceptually uniform and readable with any colour vision (van der Walt & Smith 2015). Its bright
end, green to yellow, differs from skin, from grey speckle and from the pink and purple of H&E."""
OPACITY = 0.6
"""The opacity where the map is strongest. The image shows through everywhere."""
MAX_DRAWN_PIXELS = 12_000_000
"""A larger image is drawn smaller, because it takes seconds to encode 40 megapixels and no screen shows them."""
LAYER_SIDE = 1600
"""The longest side of a layer, in pixels. The page shows it at a few hundred pixels, or enlarged to a screen."""

Part = tuple[float, float, float, float]
"""The left, upper, right and lower edge, as shares (0 to 1) of an image's width and height."""


@cache
def palette() -> bytes:
    """256 RGB colours from weak to strong, as 768 bytes."""
    # matplotlib is imported here, because the app does not need it before the first heat map.
    from matplotlib import colormaps

    return (colormaps[COLOURS](np.arange(256))[:, :3] * 255).round().astype(np.uint8).tobytes()


def drawn_size(size: tuple[int, int]) -> tuple[int, int]:
    """The width and height at which an image of `size` is drawn: its own size, up to MAX_DRAWN_PIXELS."""
    scale = min(1.0, (MAX_DRAWN_PIXELS / (size[0] * size[1])) ** 0.5)
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def draw(image: Image.Image, heat: HeatMap, seen: Box, label: Part | None = None) -> Image.Image:
    """`heat` over an upright RGB `image`, as an RGB image of `drawn_size(image.size)`.

    The map is more opaque where it is stronger. A frame marks the part `seen` that the network read, unless it is the
    whole image. Another frame marks the part `label` that alone decides the label (`Task.label_box`).
    """
    size = drawn_size(image.size)
    drawn = image.copy() if size == image.size else image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    left, upper, right, lower = _scaled(heat.box, image.size, size)
    # It is converted to 8 bits before it is enlarged, because a large array of floats would take more memory.
    small = Image.fromarray((heat.values * 255).round().astype(np.uint8))
    strength = small.resize((right - left, lower - upper), Image.Resampling.BICUBIC)
    opacity = strength.point([round(value * OPACITY) for value in range(256)])
    strength.putpalette(palette())
    drawn.paste(strength.convert("RGB"), (left, upper), opacity)
    frame, width = ImageDraw.Draw(drawn), max(1, round(min(size) / 250))
    frames = [_scaled(seen, image.size, size)] if seen != (0, 0, *image.size) else []
    frames += [_scaled(_within(label, _shares(seen, image.size)), (1, 1), size)] if label is not None else []
    for left, upper, right, lower in frames:
        # A white line on a black one is visible on any background.
        frame.rectangle((left, upper, right - 1, lower - 1), outline="black", width=2 * width)
        frame.rectangle((left, upper, right - 1, lower - 1), outline="white", width=width)
    return drawn


@dataclass(frozen=True)
class Layers:
    """An image and its heat map, to be laid over each other.

    `image` is RGB. `colours` is RGBA, is as opaque as the map is strong, and lies over the part `box` of the image.
    `seen` is the part that the network read. `label` is the part that alone decides the label; None means the whole
    image.
    """

    image: Image.Image
    colours: Image.Image
    box: Part
    seen: Part
    label: Part | None = None


def layers(image: Image.Image, heat: HeatMap, seen: Box, label: Part | None = None) -> Layers:
    """The layers of `draw`: the image with sides of at most LAYER_SIDE, and the map at the network's input size."""
    small = image.copy()
    small.thumbnail((LAYER_SIDE, LAYER_SIDE))
    small.info = {}  # without the metadata of the file
    strength = Image.fromarray((heat.values * 255).round().astype(np.uint8))
    colours = strength.copy()
    colours.putpalette(palette())
    colours = colours.convert("RGB")
    colours.putalpha(strength)
    part = _shares(seen, image.size)
    return Layers(small, colours, _shares(heat.box, image.size), part, None if label is None else _within(label, part))


def png(image: Image.Image) -> bytes:
    """An RGB or RGBA image as a PNG file."""
    # Pillow tries all five filters on each line, which takes twice as long. These three save all but 3% of the size.
    return imagecodecs.png_encode(np.asarray(image), level=2, filter=imagecodecs.PNG.FILTER.FAST)


def _within(label: Part, seen: Part) -> Part:
    """The part `label` of the part `seen` of a picture, in shares of the picture."""
    left, upper, right, lower = seen
    x, y = right - left, lower - upper
    return left + label[0] * x, upper + label[1] * y, left + label[2] * x, upper + label[3] * y


def _shares(box: Box, size: tuple[int, int]) -> Part:
    return box[0] / size[0], box[1] / size[1], box[2] / size[0], box[3] / size[1]


def _scaled(box: Box | Part, size: tuple[int, int], to: tuple[int, int]) -> Box:
    x, y = to[0] / size[0], to[1] / size[1]
    left, upper = int(box[0] * x), int(box[1] * y)
    return left, upper, max(left + 1, int(box[2] * x)), max(upper + 1, int(box[3] * y))
