"""How far a checkpoint's heat maps can be trusted, on a sample of pictures: `explanation` in evaluation.json.

Faithfulness: the strongest parts of a map for the most probable class are taken out of the picture, and the class's
probability falls, or it does not (ROAD: Rong et al. 2022, arXiv:2202.00449, as pytorch-grad-cam has it). Held against
the same map shifted at random, which is as coarse, as large and as strong, and looks anywhere. Location: whether the
map for the malignant class points to the part of the picture that is known to matter. Knows nothing of files.
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

from src.models.prediction import Explanation, HeatMap
from src.models.predictor import ForwardPass, Predictor
from src.results.thresholds import decide
from src.tasks import Task
from train.data import Sample
from train.data.masks import lesion_mask
from train.evaluation import metrics

METHODS: Final[tuple[Explanation, ...]] = ("Grad-CAM", "Guided Grad-CAM")
REMOVED = (0.1, 0.3)
"""The shares of a picture's pixels that are taken out."""
TAKEN_OUT_OF = 30
"""Of so many pictures: filling in what was taken out takes a second or two a picture."""

Part = Literal["lesion", "label box"]


def evaluate_heat_maps(predictor: Predictor, samples: Sequence[Sample], threshold: float) -> dict[str, Any]:
    """`measured.Explained` of `samples`, which stand in random order; a decision at `threshold` is right or wrong."""
    task = predictor.task
    groups = [f"{sample.source}/{sample.group}" for sample in samples]
    falls, places = [], []
    for number, sample in enumerate(tqdm(samples, desc="heat maps", unit="image")):
        picture = sample.picture()
        forward_pass = predictor.forward_pass(picture)
        if number < TAKEN_OUT_OF:
            falls.append(probability_falls(predictor, forward_pass, number))
        if (part := annotated_part(task, sample)) is not None:
            right = (decide(forward_pass.prediction.p_malignant, threshold) == "refer") == task.malignant[sample.label]
            for method in METHODS:
                heat = predictor.heat_map(forward_pass, method, _malignant(task))
                known = inside_mask(task, sample, picture.image, heat)
                places.append((part, method, right, groups[number], *share_inside(part, heat.values, known)))
    found: dict[str, Any] = {
        "n": len(samples),
        "groups": len(set(groups)),
        "faithfulness": _faithfulness(np.array(falls), groups[: len(falls)]),
    }
    if places:
        found["location"] = _location(places, _malignant(task))
    return found


def _malignant(task: Task) -> str:
    """The malignant class, of a task that has one alone."""
    [code] = (diagnosis.code for diagnosis in task.classes if diagnosis.malignant)
    return code


def annotated_part(task: Task, sample: Sample) -> Part | None:
    """What is known of a picture to matter: its lesion, where it is drawn, or the box that alone makes the label."""
    if task.label_box is not None:
        return "label box"
    return "lesion" if sample.masks and task.codes[sample.label] != "normal" else None


def inside_mask(task: Task, sample: Sample, image: Any, heat: HeatMap) -> np.ndarray:
    """Which pixels of the heat map are in the part that matters: bool, of the shape of its values."""
    rows, columns = heat.values.shape
    if task.label_box is None:
        return lesion_mask(sample, image, heat.box, (columns, rows)) > 0
    left, upper, right, lower = task.label_box
    across = (heat.box[0] + (np.arange(columns) + 0.5) / columns * (heat.box[2] - heat.box[0])) / image.width
    down = (heat.box[1] + (np.arange(rows) + 0.5) / rows * (heat.box[3] - heat.box[1])) / image.height
    return np.outer((upper <= down) & (down < lower), (left <= across) & (across < right))


def share_inside(part: Part, values: np.ndarray, inside: np.ndarray) -> tuple[float | None, float]:
    """The share of a heat map's `values` that lies `inside` the part that matters, 0 to 1, and the share expected by
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


def _location(places: Sequence[tuple[Any, ...]], code: str) -> dict[str, Any]:
    part = places[0][0]
    maps: dict[str, dict[str, Any]] = {}
    for method in METHODS:
        for answer, right in (("right", True), ("wrong", False)):
            these = [place[3:] for place in places if place[1] == method and place[2] == right]
            some = [(group, share, chance) for group, share, chance in these if share is not None]
            summary = metrics.share if part == "lesion" else metrics.mean
            maps.setdefault(method, {})[answer] = {
                "n": len(some),
                "empty": len(these) - len(some),
                "inside": summary(np.array([share for _, share, _ in some]), [group for group, _, _ in some]),
                "chance": float(np.mean([chance for _, _, chance in some])) if some else None,
            }
    return {"part": part, "measure": "peak" if part == "lesion" else "mass", "code": code, "maps": maps}


def _faithfulness(falls: np.ndarray, groups: Sequence[str]) -> dict[str, Any]:
    """`falls` (pictures, methods, 2), as `probability_falls` gives them."""
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
    """By how much the most probable class's probability falls where each map's strongest parts are taken out, the mean
    over REMOVED: (methods, 2), of the map and of the map shifted at random."""
    rng = np.random.default_rng(seed)
    orders = []
    for method in METHODS:
        order = ranks(predictor.heat_map(forward_pass, method).values, rng)
        orders += [order, np.roll(order, rng.integers(order.shape), axis=(0, 1))]
    temperature = predictor.checkpoint.config.vigil.temperature
    target = partial(_probability, index=forward_pass.prediction.top, temperature=temperature)
    pixels = forward_pass.pixels.expand(len(orders), -1, -1, -1)
    given = pixels, np.stack(orders), [target] * len(orders), predictor.logits
    # What fills the holes has a little noise.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        left = [ROADMostRelevantFirst(100 * (1 - share))(*given, return_diff=False) for share in REMOVED]
    fallen = forward_pass.prediction.probabilities[forward_pass.prediction.top] - np.mean(left, axis=0)
    return fallen.reshape(len(METHODS), 2)


def _probability(logits: Tensor, index: int, temperature: float) -> Tensor:
    return F.softmax(logits / temperature, dim=0)[index]


def ranks(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A map (H, W) by order alone, float32 in 0..1, equal values in random order: so that of an empty map, or of one
    half of which is zero, as many pixels are taken out as of any other."""
    order = np.lexsort((rng.random(values.size), values.ravel()))
    found = np.empty(values.size, dtype=np.float32)
    found[order] = np.arange(values.size) / values.size
    return found.reshape(values.shape)
