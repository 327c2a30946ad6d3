"""Does the answer survive small changes of the picture? A fixed list of views that mean the same to a reader.

Views are made of the decoded picture, before the search for the region and the scaling, so that everything a picture
passes through is tried. Knows the Predictor; knows nothing of thresholds or the page. The same picture has the same
views every time, and nothing of them is kept.
"""

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from src.models.predictor import Predictor
from src.pictures.decode import ImageRefused, Picture
from src.tasks import Task

Change = Callable[[Image.Image], Image.Image]

BRIGHTNESS = 0.15
DEGREES = 5
"""Of a turn: what a hand does not notice, and little for the acoustic shadows that run straight down."""
CUT = 0.04
"""Of the width and the height, cut off at each side; and how far a picture is moved."""
JPEG_QUALITY = 50

MAX_PIXELS = 2_000_000
"""Of a larger picture the views are made smaller: far finer still than any network's input, and a dozen of 40
megapixels would fill the memory."""
MAX_SIDE = 6_400
"""Pixels of the longer side of what views are made of: a picture of MAX_PIXELS has no more, unless it is narrower than
src/pictures/decode.py takes one. With what turning adds at the edges it bounds a view to 7 megapixels, however thin
it is."""


@dataclass(frozen=True)
class View:
    """A small change of an upright RGB picture that keeps its size or nearly, `name` in plain words."""

    name: str
    change: Change


def views(task: Task) -> tuple[View, ...]:
    """What is tried on pictures of `task`, in the order of telling.

    Where one part of the picture alone makes the label, it stays in the middle. Ultrasound comes from above, so its
    pictures are not mirrored; skin and tissue have no such side.
    """
    found = [
        View(f"{BRIGHTNESS:.0%} brighter", lambda image: _brighter(image, 1 + BRIGHTNESS)),
        View(f"{BRIGHTNESS:.0%} darker", lambda image: _brighter(image, 1 - BRIGHTNESS)),
        View(f"turned {DEGREES}° to the left", lambda image: _turned(image, DEGREES)),
        View(f"turned {DEGREES}° to the right", lambda image: _turned(image, -DEGREES)),
        View(f"{CUT:.0%} cut off all round", _cut),
        View(f"JPEG of quality {JPEG_QUALITY}", _as_jpeg),
    ]
    if task.label_box is None:
        found += [
            View(f"moved {CUT:.0%} to the right", lambda image: _moved(image, CUT, 0)),
            View(f"moved {CUT:.0%} down", lambda image: _moved(image, 0, CUT)),
        ]
    if task.colour == "rgb":
        found += [
            View("mirrored left to right", lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
            View("mirrored upside down", lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)),
        ]
    return tuple(found)


def read_views(predictor: Predictor, picture: Picture) -> tuple[float, list[tuple[str, float]]]:
    """p(malignant) of the picture as it is, and name and p(malignant) of each of its views, in one batch.

    Raises ImageRefused where one of them cannot be answered.
    """
    tried = views(predictor.task)

    def pictures() -> Iterator[Picture]:
        yield picture
        small = _reduced(picture.image)
        for view in tried:
            yield Picture(view.change(small), picture.notes)

    found = []
    for answer in predictor.predict_many(pictures(), batch_size=1 + len(tried)):
        if isinstance(answer, ImageRefused):
            raise answer
        found.append(answer.p_malignant)
    return found[0], [(view.name, p) for view, p in zip(tried, found[1:], strict=True)]


def _reduced(image: Image.Image) -> Image.Image:
    scale = min((MAX_PIXELS / (image.width * image.height)) ** 0.5, MAX_SIDE / max(image.size))
    if scale >= 1:
        return image
    return image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BOX, reducing_gap=2
    )


def _brighter(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


def _turned(image: Image.Image, degrees: float) -> Image.Image:
    """About its middle, to the left where `degrees` are positive; what comes in at the corners is the edge mirrored."""
    margin = math.ceil(math.sin(math.radians(abs(degrees))) * max(image.size) / 2) + 2
    wide = _framed(image, margin, margin).rotate(degrees, Image.Resampling.BICUBIC)
    return wide.crop((margin, margin, margin + image.width, margin + image.height))


def _moved(image: Image.Image, right: float, down: float) -> Image.Image:
    """By these shares of width and height, a pixel at least; what comes in at the edges is the edge mirrored."""
    x, y = _pixels(right, image.width), _pixels(down, image.height)
    return _framed(image, x, y).crop((0, 0, *image.size))


def _framed(image: Image.Image, x: int, y: int) -> Image.Image:
    """With margins of `x` and `y` pixels at each side that mirror the edges."""
    return Image.fromarray(np.pad(np.asarray(image), ((y, y), (x, x), (0, 0)), mode="symmetric"))


def _pixels(share: float, length: int) -> int:
    return max(1, round(share * length)) if share else 0


def _cut(image: Image.Image) -> Image.Image:
    x, y = _pixels(CUT, image.width), _pixels(CUT, image.height)
    return image.crop((x, y, image.width - x, image.height - y))


def _as_jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    with Image.open(file, formats=("JPEG",)) as saved:
        return saved.convert("RGB")
