"""Small changes of an image that do not change a human reader's opinion, to test how robust the prediction is.

They change the decoded image, before the search for the lesion and before scaling, so that they test all steps. They
are deterministic. This module knows the Predictor, but not thresholds or the page. It keeps nothing.
"""

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageEnhance

from src.models.prediction import Prediction
from src.pictures.parts import Division
from src.pictures.picture import ImageRefused, Picture
from src.tasks import Task

if TYPE_CHECKING:
    from src.models.predictor import Predictor

BRIGHTNESS = 0.15
DEGREES = 5
"""A rotation as small as that of a hand-held camera. Acoustic shadows, which run straight down, allow no larger one."""
SHIFT = 0.04
"""The share of width and height that is cropped off at each side, or by which the image is moved."""
JPEG_QUALITY = 50

MAX_PIXELS = 2_000_000
"""A larger image is scaled down first, because a dozen copies of 40 megapixels would fill the memory. 2 megapixels are
still far more than any network's input."""
MAX_SIDE = 6_400
"""Pixels of the longer side after scaling down. An image of MAX_PIXELS that `decode.read` accepts has no more. This
limit keeps a copy, with the edges that rotation adds, below 7 megapixels even for a narrower image."""


@dataclass(frozen=True)
class Perturbation:
    """A small change of an upright RGB image. Its size stays nearly the same. `name`: the change in plain words."""

    name: str
    change: Callable[[Image.Image], Image.Image]


def perturbations(task: Task) -> tuple[Perturbation, ...]:
    """The perturbations for images of `task`, in the order of the report.

    If only the centre of an image decides its label, the image is not moved. Grey images are not mirrored, because
    ultrasound enters from above; skin and tissue have no preferred side.
    """
    found = [
        Perturbation(f"{BRIGHTNESS:.0%} brighter", lambda image: _brighter(image, 1 + BRIGHTNESS)),
        Perturbation(f"{BRIGHTNESS:.0%} darker", lambda image: _brighter(image, 1 - BRIGHTNESS)),
        Perturbation(f"turned {DEGREES}° to the left", lambda image: _turned(image, DEGREES)),
        Perturbation(f"turned {DEGREES}° to the right", lambda image: _turned(image, -DEGREES)),
        Perturbation(f"{SHIFT:.0%} cut off all round", _cropped),
        Perturbation(f"JPEG of quality {JPEG_QUALITY}", _as_jpeg),
    ]
    if task.label_box is None:
        found += [
            Perturbation(f"moved {SHIFT:.0%} to the right", lambda image: _moved(image, SHIFT, 0)),
            Perturbation(f"moved {SHIFT:.0%} down", lambda image: _moved(image, 0, SHIFT)),
        ]
    if task.colour == "rgb":
        found += [
            Perturbation("mirrored left to right", lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
            Perturbation("mirrored upside down", lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)),
        ]
    return tuple(found)


def predict_perturbed(predictor: "Predictor", picture: Picture) -> tuple[Prediction, list[tuple[str, float]]]:
    """The prediction for an unchanged image, and the name and p(malignant) of each perturbation, in one batch.

    Of an image that is read in parts, the part that its prediction reports is changed. Raises ImageRefused if the
    network gives no finite answer for one of them.
    """
    tried = perturbations(predictor.task)
    read = predictor.chosen_part(picture)
    picture = read.parts[0].picture

    def pictures() -> Iterator[Picture | Division]:
        yield read
        small = reduced(picture.image)
        for one in tried:
            yield Picture(one.change(small), picture.notes)

    predictions = []
    for answer in predictor.predict_many(pictures(), batch_size=1 + len(tried)):
        if isinstance(answer, ImageRefused):
            raise answer
        predictions.append(answer)
    as_it_is, *perturbed = predictions
    return as_it_is, [(one.name, prediction.p_malignant) for one, prediction in zip(tried, perturbed, strict=True)]


def reduced(image: Image.Image) -> Image.Image:
    """The image with at most MAX_PIXELS pixels and sides of at most MAX_SIDE, so that no view takes much memory."""
    scale = min((MAX_PIXELS / (image.width * image.height)) ** 0.5, MAX_SIDE / max(image.size))
    if scale >= 1:
        return image
    return image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BOX, reducing_gap=2
    )


def _brighter(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


def _turned(image: Image.Image, degrees: float) -> Image.Image:
    """The image rotated about its centre, to the left for positive `degrees`. Mirrored edges fill the corners."""
    margin = math.ceil(math.sin(math.radians(abs(degrees))) * max(image.size) / 2) + 2
    wide = _framed(image, margin, margin).rotate(degrees, Image.Resampling.BICUBIC)
    return wide.crop((margin, margin, margin + image.width, margin + image.height))


def _moved(image: Image.Image, right: float, down: float) -> Image.Image:
    """The image moved by these shares of its width and height, at least by a pixel. Mirrored edges fill the gap."""
    x, y = _pixels(right, image.width), _pixels(down, image.height)
    return _framed(image, x, y).crop((0, 0, *image.size))


def _framed(image: Image.Image, x: int, y: int) -> Image.Image:
    """The image with margins of `x` and `y` pixels at each side, which mirror its edges."""
    return Image.fromarray(np.pad(np.asarray(image), ((y, y), (x, x), (0, 0)), mode="symmetric"))


def _pixels(share: float, length: int) -> int:
    return max(1, round(share * length)) if share else 0


def _cropped(image: Image.Image) -> Image.Image:
    x, y = _pixels(SHIFT, image.width), _pixels(SHIFT, image.height)
    return image.crop((x, y, image.width - x, image.height - y))


def _as_jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    with Image.open(file, formats=("JPEG",)) as saved:
        return saved.convert("RGB")
