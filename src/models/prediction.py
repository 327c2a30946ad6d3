"""The types of a prediction and its heat map. `Predictor` creates them."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from src.pictures.parts import PartKind
from src.pictures.picture import Box, Shares
from src.tasks import Task

Explanation = Literal["Grad-CAM", "Guided Grad-CAM", "none"]
EXPLANATIONS: tuple[Explanation, ...] = ("Grad-CAM", "Guided Grad-CAM", "none")

RegionKind = Literal["picture", "field", "lesion", "tile"]
"""The part of the image that the network read: the whole image, the scanned field of an ultrasound image, the lesion
in that field, or a tile of an image whose scale is known."""
NOTHING_FOUND = "No lesion was found to look at closely; the whole scanned field was read."
"""The warning of a prediction whose region is "field" because the lesion finder found nothing."""


@dataclass(frozen=True)
class Verdict:
    """The distance of an image to the training images, and the limits that decide.

    The gate accepts the image if `score` is at most `limit`. An accepted image with a score above `unlike_above` is of
    the task's kind but unlike the training images. `unlike_above` is infinite for a gate that does not know it.
    """

    score: float
    limit: float
    unlike_above: float = math.inf

    @property
    def accepted(self) -> bool:
        """Whether the image is of the task's kind."""
        return self.score <= self.limit

    @property
    def unlike(self) -> bool:
        """Whether the image is of the task's kind, but unlike the training images."""
        return self.accepted and self.score > self.unlike_above


@dataclass(frozen=True)
class HeatMap:
    """A map of the evidence that the network found for the class `code`.

    `values`: float32 (H, W), 0 to 1, over the part `box` of the image. They are all 0 if nothing in the image is
    evidence for the class.
    """

    method: Explanation
    code: str
    values: np.ndarray
    box: Box


@dataclass(frozen=True)
class Parts:
    """What the network said of each part of an image that it read in parts.

    `p_malignant`: one value per part, 0 to 1. `counted`: whether a part counts: those that the gate accepts do, or all
    where it accepts none. `chosen`: the index of the part whose prediction stands for the image, the one with the
    highest p(malignant) that counts. `mpp`: the image's micrometres per pixel, None for views.
    """

    kind: PartKind
    p_malignant: tuple[float, ...]
    counted: tuple[bool, ...]
    chosen: int
    mpp: float | None = None

    @property
    def mean(self) -> float:
        """The mean p(malignant) of the parts that count."""
        return float(np.mean([p for p, counts in zip(self.p_malignant, self.counted, strict=True) if counts]))


@dataclass(frozen=True)
class Prediction:
    """The prediction of a checkpoint for one image.

    `model` and `revision`: name and revision of the checkpoint. `logits` and `probabilities`: one value per class, in
    the order of the task's classes. The logits are not calibrated; with test-time augmentation they are the mean over
    the views. The probabilities are calibrated, 0 to 1, and their sum is 1. `p_malignant`: the sum of the malignant
    classes' probabilities. `size`: width and height of the image in pixels. `box`: the part that the network read.
    `region`: the kind of that part. `warnings`: sentences for the person about image quality and region. `gate`: the
    verdict whether the image is of the task's kind; None for a checkpoint without a gate. `parts`: what was said of
    each part of an image that was read in parts, else None; all other figures are then those of the chosen part.
    `shown`: the part of what the network read that shows `box`; the rest, of an image that is too small, mirrors it.
    `members`: the p(malignant) of each network of a checkpoint that has several, the first network first; empty for a
    checkpoint of one network. `box`, `region`, `gate` and heat map are then the first network's.
    """

    task: Task
    model: str
    revision: str
    logits: tuple[float, ...]
    probabilities: tuple[float, ...]
    p_malignant: float
    size: tuple[int, int]
    box: Box
    region: RegionKind
    warnings: tuple[str, ...]
    heat_map: HeatMap | None = None
    gate: Verdict | None = None
    parts: Parts | None = None
    shown: Shares = (0, 0, 1, 1)
    members: tuple[float, ...] = ()

    @property
    def label_box(self) -> Shares | None:
        """The part of `box` that alone makes the label, in shares of it; None where the whole does."""
        if self.task.label_box is None:
            return None
        left, upper, right, lower = self.shown
        x0, y0, x1, y1 = self.task.label_box
        across, down = right - left, lower - upper
        x0, x1 = ((min(max(x, left), right) - left) / across for x in (x0, x1))
        y0, y1 = ((min(max(y, upper), lower) - upper) / down for y in (y0, y1))
        return x0, y0, x1, y1

    @property
    def top(self) -> int:
        """The index of the most probable class."""
        return int(np.argmax(self.probabilities))

    def classes(self) -> list[dict[str, Any]]:
        """The code, name, probability and malignancy of every class, the most probable class first."""
        order = sorted(range(len(self.probabilities)), key=lambda i: -self.probabilities[i])
        return [
            {
                "code": self.task.classes[i].code,
                "name": self.task.classes[i].name,
                "probability": self.probabilities[i],
                "malignant": self.task.classes[i].malignant,
            }
            for i in order
        ]
