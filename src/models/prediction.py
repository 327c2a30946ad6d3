"""The types of a prediction and its heat map. `Predictor` creates them."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from src.models.gate import Verdict
from src.pictures.picture import Box
from src.tasks import Task

Explanation = Literal["Grad-CAM", "Guided Grad-CAM", "none"]
EXPLANATIONS: tuple[Explanation, ...] = ("Grad-CAM", "Guided Grad-CAM", "none")

RegionKind = Literal["picture", "field", "lesion"]
"""The part of the image that the network read: the whole image, the scanned field of an ultrasound image, or the lesion
in that field."""


@dataclass(frozen=True)
class HeatMap:
    """A map of the evidence that the network found for the class `code`.

    `values`: float32 (side, side), 0 to 1, over the part `box` of the image. They are all 0 if nothing in the image is
    evidence for the class.
    """

    method: Explanation
    code: str
    values: np.ndarray
    box: Box


@dataclass(frozen=True)
class Prediction:
    """The prediction of a checkpoint for one image.

    `model` and `revision`: name and revision of the checkpoint. `logits` and `probabilities`: one value per class, in
    the order of the task's classes. The logits are not calibrated; with test-time augmentation they are the mean over
    the views. The probabilities are calibrated, 0 to 1, and their sum is 1. `p_malignant`: the sum of the malignant
    classes' probabilities. `size`: width and height of the image in pixels. `box`: the part that the network read.
    `region`: the kind of that part. `warnings`: sentences for the person about image quality and region. `gate`: the
    verdict whether the image is of the task's kind; None for a checkpoint without a gate.
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
