"""What the AUC loses if the stain of each image is changed: `stain` in evaluation.json.

Laboratories stain tissue differently. Each image is changed once, at random, with albumentations' HEStain. It separates
haematoxylin and eosin, changes the amount of each, and composes the image again.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import albumentations as A
import numpy as np
from PIL import Image
from tqdm import tqdm

from src.models.prediction import Prediction
from src.models.predictor import Predictor
from src.pictures.picture import Picture
from src.tasks import Task
from train.data import Sample
from train.evaluation import metrics

STAINED: Final = ("histopathology",)
"""The tasks whose images show stained tissue."""

SCALE: Final = (0.7, 1.3)
SHIFT: Final = (-0.2, 0.2)
"""The amount of each stain is multiplied by a number from SCALE, and a number from SHIFT is added."""


def _change(method: Literal["macenko", "random_preset"]) -> A.HEStain:
    return A.HEStain(
        method=method, intensity_scale_range=SCALE, intensity_shift_range=SHIFT, augment_background=False, p=1.0
    )


CHANGES: Final[Mapping[str, A.HEStain]] = {
    "Macenko": _change("macenko"),
    "fixed stain matrices": _change("random_preset"),
}
"""How the stains are separated: by the image's own stain matrix (Macenko et al. 2009), or by one of the eight matrices
of albumentations, drawn at random. The background, which is brighter than 0.85, keeps its colour."""


def stained(image: Image.Image, change: A.HEStain, seed: int) -> Image.Image:
    """An RGB image with its stain changed. The same `seed` gives the same change. An image without tissue is kept."""
    pipeline = A.Compose([change])
    pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
    try:
        return Image.fromarray(pipeline(image=np.asarray(image))["image"])
    except ValueError:
        # Macenko's method found no pixel with a stain.
        return image


def measure(predictor: Predictor, samples: Sequence[Sample], scores: np.ndarray) -> dict[str, Any] | None:
    """For each change, the AUC of the changed images and the AUC that they lose; None for a task without stains.

    `scores` float64 (N,): p(malignant) of the unchanged images. A loss is positive if the AUC falls. Its interval
    compares the same images with and without the change. Raises ImageRefused.
    """
    if predictor.task.name not in STAINED:
        return None
    return {
        name: compare(predictor.task, samples, scores, _changed_scores(predictor, samples, name)) for name in CHANGES
    }


def compare(task: Task, samples: Sequence[Sample], scores: np.ndarray, changed: np.ndarray) -> dict[str, Any]:
    """The AUC of `changed` (N,) and what it loses against `scores` (N,), each with its 95% interval."""
    positive = metrics.is_malignant(task, np.array([sample.label for sample in samples]))
    groups = [f"{sample.source}/{sample.group}" for sample in samples]

    def figures(rows: np.ndarray) -> dict[str, float]:
        after = metrics.auc(positive[rows], changed[rows])
        return {"auc_malignant": after, "lost": metrics.auc(positive[rows], scores[rows]) - after}

    intervals = metrics.bootstrap(figures, groups)
    return {
        name: {"value": value, "interval": intervals[name]} for name, value in figures(np.arange(len(samples))).items()
    }


def _changed_scores(predictor: Predictor, samples: Sequence[Sample], name: str) -> np.ndarray:
    def pictures() -> Iterator[Picture]:
        for seed, sample in enumerate(samples):
            picture = sample.picture()
            yield Picture(stained(picture.image, CHANGES[name], seed), picture.notes)

    found = []
    for answer in tqdm(predictor.predict_many(pictures()), total=len(samples), desc="stain", unit="image"):
        if not isinstance(answer, Prediction):
            raise answer
        found.append(answer.p_malignant)
    return np.array(found)
