"""Does the answer survive small changes of the picture? A fixed list of perturbations that mean nothing to a reader.

They change the decoded picture, before the lesion is searched and before scaling, so that they test every step of the
way to the answer. Knows the Predictor; knows nothing of thresholds or the page. Deterministic, and keeps nothing.
"""

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from src.models.prediction import Prediction
from src.models.predictor import Predictor
from src.pictures.picture import ImageRefused, Picture
from src.tasks import Task

BRIGHTNESS = 0.15
DEGREES = 5
"""A rotation that a hand does not notice, and small enough for acoustic shadows, which run straight down."""
SHIFT = 0.04
"""Share of the width and of the height: cropped off at each side, or moved by."""
JPEG_QUALITY = 50

MAX_PIXELS = 2_000_000
"""Larger pictures are scaled down first: a dozen copies of 40 megapixels would fill the memory, and 2 are still far
finer than any network's input."""
MAX_SIDE = 6_400
"""Pixels of the longer side after scaling down: a picture of MAX_PIXELS has no more, unless it is narrower than
`decode.read` takes one. With the edges that rotation adds, it bounds a copy to 7 megapixels, however thin it is."""


@dataclass(frozen=True)
class Perturbation:
    """A small change of an upright RGB picture that keeps its size, or nearly; `name` in plain words."""

    name: str
    change: Callable[[Image.Image], Image.Image]


def perturbations(task: Task) -> tuple[Perturbation, ...]:
    """The perturbations of pictures of `task`, in the order in which they are reported.

    Where the centre of a picture alone decides its label, it stays in the centre. Ultrasound enters from above, so its
    pictures are not mirrored; skin and tissue have no such side.
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


def predict_perturbed(predictor: Predictor, picture: Picture) -> tuple[Prediction, list[tuple[str, float]]]:
    """The prediction for the picture as it is, and the name and p(malignant) of each perturbation, in one batch.

    Raises ImageRefused where one of them cannot be answered.
    """
    tried = perturbations(predictor.task)

    def pictures() -> Iterator[Picture]:
        yield picture
        small = _reduced(picture.image)
        for one in tried:
            yield Picture(one.change(small), picture.notes)

    predictions = []
    for answer in predictor.predict_many(pictures(), batch_size=1 + len(tried)):
        if isinstance(answer, ImageRefused):
            raise answer
        predictions.append(answer)
    as_it_is, *perturbed = predictions
    return as_it_is, [(one.name, prediction.p_malignant) for one, prediction in zip(tried, perturbed, strict=True)]


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
    """Turned about its centre, to the left where `degrees` are positive; the mirrored edges fill the corners."""
    margin = math.ceil(math.sin(math.radians(abs(degrees))) * max(image.size) / 2) + 2
    wide = _framed(image, margin, margin).rotate(degrees, Image.Resampling.BICUBIC)
    return wide.crop((margin, margin, margin + image.width, margin + image.height))


def _moved(image: Image.Image, right: float, down: float) -> Image.Image:
    """Moved by these shares of width and height, at least a pixel; the mirrored edges fill the gap."""
    x, y = _pixels(right, image.width), _pixels(down, image.height)
    return _framed(image, x, y).crop((0, 0, *image.size))


def _framed(image: Image.Image, x: int, y: int) -> Image.Image:
    """With margins of `x` and `y` pixels at each side that mirror the edges."""
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
