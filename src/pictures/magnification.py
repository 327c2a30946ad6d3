"""Whether a picture of unknown scale seems to be at another magnification than a task's networks learned from.

A logistic regression on the picture's texture decides. `python -m train.magnification` fits it and writes
magnification.json, and evaluation.json says how often it is right. The module knows no network.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, TypeAdapter

from src.tasks import Task

FILE = Path(__file__).with_name("magnification.json")

BANDS = 12
FEATURES = 2 * BANDS
EPSILON = 1e-6


class Classifier(BaseModel):
    """A task's logistic regression, from `n` training pictures.

    `magnifications`: its classes, relative to what the networks learned from; 2 shows half as much tissue across.
    `mean` and `scale` standardise the FEATURES of `texture`, taken at `side` pixels. `weights` has a row of FEATURES
    and `bias` a value per class. `limit`: a picture is taken to be at another magnification where the probability
    for that is higher.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    side: int = Field(ge=28, le=640)
    n: NonNegativeInt
    magnifications: tuple[PositiveFloat, ...]
    mean: tuple[float, ...]
    scale: tuple[PositiveFloat, ...]
    weights: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]
    limit: float = Field(ge=0, le=1)

    def probabilities(self, image: Image.Image) -> np.ndarray:
        """The probability of each of `magnifications` for an RGB image, float64 (classes,), with the sum 1."""
        standard = (texture(image, self.side) - np.array(self.mean)) / np.array(self.scale)
        logits = np.array(self.weights) @ standard + np.array(self.bias)
        odds = np.exp(logits - logits.max())
        return odds / odds.sum()

    def other_magnification(self, image: Image.Image) -> float | None:
        """The other magnification that an RGB image seems to have; None where it seems to be 1."""
        probabilities = self.probabilities(image)
        right = self.magnifications.index(1)
        if 1 - probabilities[right] <= self.limit:
            return None
        probabilities[right] = 0
        return self.magnifications[int(np.argmax(probabilities))]


@cache
def classifiers() -> Mapping[str, Classifier]:
    """The classifier of every task that has a physical scale, read from magnification.json."""
    content = FILE.read_bytes() if FILE.is_file() else b"{}"
    return MappingProxyType(TypeAdapter(dict[str, Classifier]).validate_json(content))


def warnings(image: Image.Image, task: Task) -> tuple[str, ...]:
    """The warning for a person whose RGB image, of unknown scale, seems to be at another magnification."""
    classifier = classifiers().get(task.name)
    other = classifier.other_magnification(image) if classifier is not None else None
    if other is None or task.mpp is None:
        return ()
    return (
        f"The image seems to be at another magnification and to show {'less' if other > 1 else 'more'} tissue than "
        f"the {task.mpp * task.input_side:.0f} µm that the model learned from: state its micrometres per pixel.",
    )


def texture(image: Image.Image, side: int) -> np.ndarray:
    """The texture of an RGB image, scaled to `side` pixels square: float64 (FEATURES,).

    It is the log mean power in BANDS of spatial frequency, from coarse to fine, of optical density and of the
    difference between red and blue, each with mean 0 and standard deviation 1. So stain and light play no part.
    """
    small = image if image.size == (side, side) else image.resize((side, side), Image.Resampling.BICUBIC)
    rgb = np.asarray(small).astype(np.float64) / 255
    density = -np.log(np.maximum(rgb, 1 / 255)).mean(axis=2)
    masks, window = _bands(side)
    features = []
    for channel in (density, rgb[..., 0] - rgb[..., 2]):
        standard = (channel - channel.mean()) / (channel.std() + 1e-3)
        power = np.abs(np.fft.rfft2(standard * window)) ** 2
        features += [np.log(power[mask].mean() + EPSILON) for mask in masks]
    return np.array(features)


@cache
def _bands(side: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The masks of the bands, each of the shape of a spectrum, and the window that the image is multiplied with."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) * side
    band = np.digitize(frequency, np.geomspace(1, side / 2, BANDS + 1))
    window = np.hanning(side)
    return [band == number for number in range(1, BANDS + 1)], np.outer(window, window)
