"""What `src.pictures.scanned_field.views` finds, and what reading two views apart does to the answers.

Ultrasound pictures of validation are pasted side by side, as scanners show two views. `measure` is what evaluation.json
says of that (`python -m train.geometry`). How scanners of other makers draw the seam is not known from this.
"""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from src.models.prediction import Prediction
from src.models.predictor import Predictor
from src.pictures import parts, scanned_field
from src.pictures.picture import Picture
from src.results.thresholds import decide
from train.data import Sample
from train.evaluation import metrics
from train.quality import subsample

SEED = 0
GAPS = (0.0, 0.005, 0.01, 0.03)
"""Of the width of both: how far apart the views stand."""
LEVELS = (0, 60, 255)
"""Grey levels of the gap."""
PAIRS = 30
"""Pairs at most with, and as many without, a malignant picture: each is read three times."""


def side_by_side(one: Image.Image, other: Image.Image, rng: random.Random) -> Image.Image:
    """Two RGB pictures as one, at the same height, in random order and with a random gap."""
    other = other.resize((max(1, round(other.width * one.height / other.height)), one.height))
    left, right = (one, other) if rng.random() < 0.5 else (other, one)
    gap = round(rng.choice(GAPS) * (left.width + right.width))
    level = rng.choice(LEVELS)
    both = Image.new("RGB", (left.width + gap + right.width, one.height), (level, level, level))
    both.paste(left, (0, 0))
    both.paste(right, (left.width + gap, 0))
    return both


def measure(predictor: Predictor, samples: Sequence[Sample], threshold: float) -> dict[str, Any] | None:
    """What evaluation.json says of two views, from `samples` of validation; None for a task without a scanned field.

    `false_alarms`: the share of the `n` pictures as they are that are taken for two views. PAIRS malignant pictures,
    and as many others, are pasted beside one that is not malignant: `found` is the share of these `pairs` that is taken
    for two views. `sensitivity` and `specificity` hold at `threshold` for the pairs read `whole` and read `apart`.
    """
    task = predictor.task
    if not task.crop_to_roi:
        return None
    rng = random.Random(SEED)
    groups = [f"{sample.source}/{sample.group}" for sample in samples]
    alone = [_two(sample.picture(), predictor) for sample in tqdm(samples, desc="one view", unit="image")]
    others = [sample for sample in samples if not task.malignant[sample.label]]
    malignant = subsample([sample for sample in samples if task.malignant[sample.label]], PAIRS)
    chosen = [*malignant, *subsample(others, PAIRS)]
    found: list[bool] = []
    whole: list[bool] = []
    apart: list[bool] = []
    for sample in tqdm(chosen, desc="two views", unit="image"):
        beside = [one for one in others if one.source == sample.source and one.group != sample.group] or others
        other = rng.choice(beside).picture()
        pair = Picture(side_by_side(sample.picture().image, other.image, rng), ())
        found.append(_two(pair, predictor))
        for answers, in_parts in ((whole, False), (apart, True)):
            (answer,) = predictor.predict_many([pair], in_parts=in_parts)
            if not isinstance(answer, Prediction):
                raise answer
            answers.append(decide(answer.p_malignant, threshold) == "refer")
    own = [f"{sample.source}/{sample.group}" for sample in chosen]
    cut = len(malignant)

    def at(referred: list[bool]) -> dict[str, Any]:
        spared = [not one for one in referred[cut:]]
        return {
            "sensitivity": metrics.share(np.array(referred[:cut]), own[:cut]),
            "specificity": metrics.share(np.array(spared), own[cut:]),
        }

    return {
        "n": len(samples),
        "step_above": scanned_field.SEAM,
        "false_alarms": metrics.share(np.array(alone), groups),
        "pairs": len(chosen),
        "found": metrics.share(np.array(found), own),
        "threshold": threshold,
        "whole": at(whole),
        "apart": at(apart),
    }


def _two(picture: Picture, predictor: Predictor) -> bool:
    return parts.divide(picture, predictor.task).kind == "views"
