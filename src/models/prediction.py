"""Prediction: what a checkpoint says about one image, with its heat map. Types only; `Predictor` makes them."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from src.models.gate import Verdict
from src.pictures.picture import Box
from src.tasks import Task

Explanation = Literal["Grad-CAM", "Guided Grad-CAM", "none"]
EXPLANATIONS: tuple[Explanation, ...] = ("Grad-CAM", "Guided Grad-CAM", "none")

RegionKind = Literal["picture", "field", "lesion"]
"""The part of the picture that the network read: all of it, the scanned field of an ultrasound picture, or the lesion
in that field."""


@dataclass(frozen=True)
class HeatMap:
    """Where the network found evidence for the class `code`.

    `values`: float32 (side, side) in 0..1, over the part `box` of the picture; all zero where nothing in the picture
    argues for the class.
    """

    method: Explanation
    code: str
    values: np.ndarray
    box: Box


@dataclass(frozen=True)
class Prediction:
    """What a checkpoint says about one picture.

    `logits` and `probabilities` are in the order of the task's classes. The logits are not calibrated; with test-time
    augmentation they are the mean over the views. The probabilities are calibrated, in 0..1, and add up to 1.
    `p_malignant` is the sum over the malignant classes. `size`: width and height of the picture in pixels. `box`: the
    part of it that the network read, `region` which part that is. `warnings`: sentences for people about quality and
    region. `gate`: whether the picture is of the task's kind; None for a checkpoint without a gate.
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
        """Index of the most probable class."""
        return int(np.argmax(self.probabilities))

    def classes(self) -> list[dict[str, Any]]:
        """code, name, probability and malignant of every class, most probable first."""
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
