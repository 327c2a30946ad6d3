"""Evaluate how far a checkpoint's heat maps can be trusted: `explanation` in evaluation.json.

- Faithfulness: the pixels that the map of the most probable class marks most strongly are removed from the image. If
  the map is faithful, the class's probability falls (ROAD: Rong et al. 2022, arXiv:2202.00449, in pytorch-grad-cam).
  The baseline is the same map shifted at random: it is equally coarse, large and strong, but marks other pixels.
- Location: whether the map of the malignant class marks the annotated part of the image.

This module knows nothing of files.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_grad_cam.metrics.road import ROADMostRelevantFirst
from torch import Tensor
from tqdm import tqdm

from src.models.prediction import EXPLANATIONS, Explanation, HeatMap
from src.models.predictor import ForwardPass, Predictor
from src.results.thresholds import decide
from src.tasks import Task
from train.data import Sample
from train.data.masks import lesion_mask
from train.evaluation import metrics

METHODS: Final[tuple[Explanation, ...]] = tuple(name for name in EXPLANATIONS if name != "none")
REMOVED = (0.1, 0.3)
"""The shares of an image's pixels that are removed."""
FAITHFULNESS_IMAGES = 30
"""The number of images from which pixels are removed. Filling the holes takes one or two seconds per image."""

Part = Literal["lesion", "label box"]


def evaluate_heat_maps(predictor: Predictor, samples: Sequence[Sample], threshold: float) -> dict[str, Any]:
    """The entry `explanation` of evaluation.json (src.models.evaluation.HeatMapEvaluation).

    `samples` are in random order. Location is given separately for right and wrong decisions at `threshold`.
    """
    task = predictor.task
    groups = [f"{sample.source}/{sample.group}" for sample in samples]
    falls, located = [], []
    for number, sample in enumerate(tqdm(samples, desc="heat maps", unit="image")):
        picture = sample.picture()
        forward_pass = predictor.forward_pass(picture)
        if number < FAITHFULNESS_IMAGES:
            falls.append(probability_falls(predictor, forward_pass, number))
        if (part := annotated_part(task, sample)) is not None:
            right = (decide(forward_pass.prediction.p_malignant, threshold) == "refer") == task.malignant[sample.label]
            for method in METHODS:
                heat = predictor.heat_map(forward_pass, method, _malignant(task))
                inside = inside_mask(task, sample, picture.image, heat)
                located.append((part, method, right, groups[number], *share_inside(part, heat.values, inside)))
    entry: dict[str, Any] = {
        "n": len(samples),
        "groups": len(set(groups)),
        "faithfulness": _faithfulness(np.array(falls), groups[: len(falls)]),
    }
    if located:
        entry["location"] = _location(located, _malignant(task))
    return entry


def _malignant(task: Task) -> str:
    """The code of the malignant class, for a task with exactly one."""
    [code] = (diagnosis.code for diagnosis in task.classes if diagnosis.malignant)
    return code


def annotated_part(task: Task, sample: Sample) -> Part | None:
    """The annotated part of an image: the box that alone decides the label, or an outlined lesion; None without one."""
    if task.label_box is not None:
        return "label box"
    return "lesion" if sample.masks and sample.has_lesion else None


def inside_mask(task: Task, sample: Sample, image: Any, heat: HeatMap) -> np.ndarray:
    """The pixels of the heat map inside the annotated part: bool, with the shape of `heat.values`."""
    rows, columns = heat.values.shape
    if task.label_box is None:
        return lesion_mask(sample, image, heat.box, (columns, rows)) > 0
    left, upper, right, lower = task.label_box
    across = (heat.box[0] + (np.arange(columns) + 0.5) / columns * (heat.box[2] - heat.box[0])) / image.width
    down = (heat.box[1] + (np.arange(rows) + 0.5) / rows * (heat.box[3] - heat.box[1])) / image.height
    return np.outer((upper <= down) & (down < lower), (left <= across) & (across < right))


def share_inside(part: Part, values: np.ndarray, inside: np.ndarray) -> tuple[float | None, float]:
    """The share of a heat map's `values` that lies `inside` the annotated part, 0 to 1, and the share expected by
    chance, which is the part's share of the area. Both arrays have the shape (rows, columns).

    For a lesion, the peak counts: the share of the pixels with the highest value (Guided Grad-CAM gives that value to
    all pixels above its 99.5th percentile). For a label's box, the sum of the values counts. An empty map has no share:
    None.
    """
    if not values.any():
        return None, float(inside.mean())
    if part == "lesion":
        return float(inside[values == values.max()].mean()), float(inside.mean())
    return float(values[inside].sum() / values.sum()), float(inside.mean())


def _location(located: Sequence[tuple[Any, ...]], code: str) -> dict[str, Any]:
    part = located[0][0]
    maps: dict[str, dict[str, Any]] = {}
    for method in METHODS:
        for answer, right in (("right", True), ("wrong", False)):
            rows = [row[3:] for row in located if row[1] == method and row[2] == right]
            with_map = [(group, share, chance) for group, share, chance in rows if share is not None]
            summary = metrics.share if part == "lesion" else metrics.mean
            maps.setdefault(method, {})[answer] = {
                "n": len(with_map),
                "empty": len(rows) - len(with_map),
                "inside": summary(np.array([share for _, share, _ in with_map]), [group for group, _, _ in with_map]),
                "chance": float(np.mean([chance for _, _, chance in with_map])) if with_map else None,
            }
    return {"part": part, "measure": "peak" if part == "lesion" else "mass", "code": code, "maps": maps}


def _faithfulness(falls: np.ndarray, groups: Sequence[str]) -> dict[str, Any]:
    """The entry `faithfulness`, from `falls` (images, methods, 2): a result of `probability_falls` per image."""
    return {
        "n": len(falls),
        "groups": len(set(groups)),
        "removed": list(REMOVED),
        "maps": {
            method: {
                "drop": metrics.mean(falls[:, i, 0], groups),
                "random": metrics.mean(falls[:, i, 1], groups),
                "above_random": metrics.mean(falls[:, i, 0] - falls[:, i, 1], groups),
            }
            for i, method in enumerate(METHODS)
        },
    }


def probability_falls(predictor: Predictor, forward_pass: ForwardPass, seed: int) -> np.ndarray:
    """How far the most probable class's probability falls when marked pixels are removed, as a mean over REMOVED.

    The probability is the first network's, which the heat map explains. Returns (methods, 2): the fall for each
    method's map, and the fall for the same map shifted at random.
    """
    rng = np.random.default_rng(seed)
    orders = []
    for method in METHODS:
        order = ranks(predictor.heat_map(forward_pass, method).values, rng)
        orders += [order, np.roll(order, rng.integers(order.shape), axis=(0, 1))]
    temperature = predictor.checkpoint.config.vigil.temperature
    target = partial(_probability, index=forward_pass.prediction.top, temperature=temperature)
    before = target(predictor.logits(forward_pass.pixels)[0]).item()
    pixels = forward_pass.pixels.expand(len(orders), -1, -1, -1)
    inputs = pixels, np.stack(orders), [target] * len(orders), predictor.logits
    # ROAD fills the holes with a little noise.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        remaining = [ROADMostRelevantFirst(100 * (1 - share))(*inputs, return_diff=False) for share in REMOVED]
    fallen = before - np.mean(remaining, axis=0)
    return fallen.reshape(len(METHODS), 2)


def _probability(logits: Tensor, index: int, temperature: float) -> Tensor:
    return F.softmax(logits / temperature, dim=0)[index]


def ranks(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The ranks of a map's values (H, W), float32 in 0..1, with equal values in random order.

    So the same number of pixels is removed for every map, even for one that is empty or half zero.
    """
    order = np.lexsort((rng.random(values.size), values.ravel()))
    found = np.empty(values.size, dtype=np.float32)
    found[order] = np.arange(values.size) / values.size
    return found.reshape(values.shape)
