"""A heat map drawn over its picture, at the picture's own size; or as layers, for the page to lay over each other.

Knows colours and pixels; what a map means, and for which class it argues, is said by whoever shows it.
"""

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from src.models.prediction import HeatMap
from src.pictures.picture import Box

# Perceptually uniform and readable with any colour vision (van der Walt & Smith 2015); its bright end, green to yellow,
# stands out from skin, from grey speckle and from H&E's pink and purple.
COLOURS = "viridis"
# The share of the colour where the map is strongest; the picture shows through everywhere.
OPACITY = 0.6
# A larger picture is drawn smaller: encoding 40 megapixels would take seconds for what no screen shows.
MAX_DRAWN_PIXELS = 12_000_000
# Of layers, which a page shows at a few hundred pixels and enlarges to a screen.
LAYER_SIDE = 1600

Part = tuple[float, float, float, float]
"""left, upper, right and lower, in shares (0..1) of a picture's width and height."""


@cache
def palette() -> bytes:
    """256 RGB colours from weak to strong, 768 bytes."""
    # Imported here: the app has no other use for matplotlib.
    from matplotlib import colormaps

    return (colormaps[COLOURS](np.arange(256))[:, :3] * 255).round().astype(np.uint8).tobytes()


def drawn_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size, width and height, at which a picture of `size` is drawn: its own up to MAX_DRAWN_PIXELS."""
    scale = min(1.0, (MAX_DRAWN_PIXELS / (size[0] * size[1])) ** 0.5)
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def draw(image: Image.Image, heat: HeatMap, seen: Box, label: Part | None = None) -> Image.Image:
    """`heat` over an upright RGB `image`, more opaque where it is stronger: RGB of `drawn_size(image.size)`.

    A frame marks `seen` where the network saw less than the whole picture, another the part `label` of it that alone
    makes the label (`Task.label_box`).
    """
    size = drawn_size(image.size)
    drawn = image.copy() if size == image.size else image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    left, upper, right, lower = _scaled(heat.box, image.size, size)
    # 8 bits before scaling up, so that a large picture costs bytes and not floats.
    small = Image.fromarray((heat.values * 255).round().astype(np.uint8))
    strength = small.resize((right - left, lower - upper), Image.Resampling.BICUBIC)
    opacity = strength.point([round(value * OPACITY) for value in range(256)])
    strength.putpalette(palette())
    drawn.paste(strength.convert("RGB"), (left, upper), opacity)
    frame, width = ImageDraw.Draw(drawn), max(1, round(min(size) / 250))
    frames = [_scaled(seen, image.size, size)] if seen != (0, 0, *image.size) else []
    frames += [_scaled(_within(label, _shares(seen, image.size)), (1, 1), size)] if label is not None else []
    for left, upper, right, lower in frames:
        # White on black, to be seen on any ground.
        frame.rectangle((left, upper, right - 1, lower - 1), outline="black", width=2 * width)
        frame.rectangle((left, upper, right - 1, lower - 1), outline="white", width=width)
    return drawn


@dataclass(frozen=True)
class Layers:
    """`picture` is RGB; `colours` RGBA, as opaque as the map is strong, lies over the part `box` of it; `seen` is the
    part that the network saw, `label` the part that alone makes the label, None where the whole does."""

    picture: Image.Image
    colours: Image.Image
    box: Part
    seen: Part
    label: Part | None = None


def layers(image: Image.Image, heat: HeatMap, seen: Box, label: Part | None = None) -> Layers:
    """What `draw` draws, apart: the picture at most LAYER_SIDE wide and high, the map at the network's input size."""
    picture = image.copy()
    picture.thumbnail((LAYER_SIDE, LAYER_SIDE))
    picture.info = {}  # what the file may have said besides
    strength = Image.fromarray((heat.values * 255).round().astype(np.uint8))
    colours = strength.copy()
    colours.putpalette(palette())
    colours = colours.convert("RGB")
    colours.putalpha(strength)
    part = _shares(seen, image.size)
    return Layers(
        picture, colours, _shares(heat.box, image.size), part, None if label is None else _within(label, part)
    )


def png(image: Image.Image) -> bytes:
    """The picture as a PNG file."""
    file = io.BytesIO()
    # Pillow's own, 6, takes five times as long on a photograph, longer than reading it, for a tenth of the size.
    image.save(file, "PNG", compress_level=3)
    return file.getvalue()


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
