"""The gate of a checkpoint that learned from several sources: a logistic regression of its kind against all others.

It learns from training images of every source, as they are and as another camera might have made them. The opposite
class is the other tasks' training images and, if there are any, half of the images of no task. The limit is chosen by
leaving out one source at a time: a head that did not learn from a source may refuse at most UNSEEN_REFUSED of that
source's validation images. If such a limit would accept known images of another kind, the limit is lower. This module
knows nothing of files.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from src.models.config import GateConfig
from src.models.gate import Gate
from src.pictures.picture import Picture
from src.tasks import Task
from train.training.artefacts import Borders, Callipers, RoundFrame, Ruler, Text

UNSEEN_REFUSED = 0.02
OTHERS_REFUSED = 0.99  # the smallest share of the other kinds' training images that the limit must refuse
UNLIKE = 0.01  # the largest share of own validation images that count as unlike the training images
C = 0.03  # the inverse strength of the penalty, chosen by leaving out sources (dev/LOG.md)

Rows = np.ndarray
"""Features of N images, float64 (N, D)."""


def another_camera(task: Task, seed: int) -> Callable[[Picture], Picture]:
    """A function that changes an image as another camera, lamp or machine might. The shape stays the same."""
    colour: list[A.BasicTransform] = [
        A.ColorJitter(brightness=(0.75, 1.25), contrast=(0.75, 1.25), saturation=(0.7, 1.3), hue=(-0.04, 0.04), p=0.8),
        A.MultiplicativeNoise(multiplier=(0.85, 1.15), per_channel=True, elementwise=False, p=0.5),
    ]
    grey: list[A.BasicTransform] = [A.RandomGamma(gamma_limit=(65, 150), p=0.7), A.CLAHE(clip_limit=(1, 3), p=0.2)]
    turned = A.HorizontalFlip(p=0.5) if task.colour == "grey" else A.D4(p=1.0)
    marks = [Callipers(p=0.3)] if task.colour == "grey" else [Ruler(p=0.12), RoundFrame(p=0.2)]
    steps = [
        turned,
        *(grey if task.colour == "grey" else colour),
        A.OneOf([A.GaussianBlur(blur_limit=(3, 5)), A.GaussNoise(std_range=(0.01, 0.04))], p=0.2),
        *marks,
        Borders(p=0.06),
        Text(p=0.06),
    ]
    cv2.setNumThreads(0)
    pipeline = A.Compose(steps, seed=seed)

    def change(picture: Picture) -> Picture:
        changed = pipeline(image=np.asarray(picture.image))["image"]
        return Picture(Image.fromarray(changed), picture.notes)

    return change


def fit(own: Mapping[str, Rows], validation: Mapping[str, Rows], others: Rows) -> Gate:
    """Fit the gate.

    `own` and `validation` have the features of each source's training and validation images, and `others` those of
    images of other kinds. Raises ValueError for fewer than two sources.
    """
    if len(own) < 2:
        raise ValueError("The limit is chosen by leaving out one source at a time, which takes at least two.")
    unseen = []
    for left_out in own:
        rest = [rows for source, rows in own.items() if source != left_out]
        scores = _scores(_fit_head(np.concatenate(rest), others), validation[left_out])
        unseen.append(float(np.quantile(scores, 1 - UNSEEN_REFUSED)))
    tensors = _fit_head(np.concatenate(list(own.values())), others)
    scores = np.concatenate([_scores(tensors, rows) for rows in validation.values()])
    # If no limit meets both demands, refusing the known images of other kinds takes precedence.
    limit = max(0.0, min(max(unseen), float(np.quantile(_scores(tensors, others), 1 - OTHERS_REFUSED))))
    unlike_above = min(limit, float(np.quantile(scores, 1 - UNLIKE)))
    head = {"features": others.shape[1], "unlike_above": unlike_above}
    fitted = Gate(GateConfig.model_validate({"head": head, "limit": limit, "sha256": "0" * 64}))
    fitted.load_state_dict({f"head.{name}": tensor for name, tensor in tensors.items()})
    return fitted.eval()


def _fit_head(own: Rows, others: Rows) -> dict[str, Tensor]:
    """The buffers of a `src.models.gate.Head`."""
    rows = np.concatenate([own, others])
    scaler = StandardScaler().fit(rows)
    model = LogisticRegression(C=C, max_iter=3000, class_weight="balanced")
    model.fit(scaler.transform(rows), np.arange(len(rows)) >= len(own))
    arrays: dict[str, Any] = {
        "mean": scaler.mean_,
        "scale": np.maximum(scaler.scale_, 1e-6),
        "weight": model.coef_[0],
        "bias": model.intercept_,
    }
    return {name: torch.tensor(array, dtype=torch.float32) for name, array in arrays.items()}


def _scores(tensors: Mapping[str, Tensor], rows: Rows) -> np.ndarray:
    mean, scale, weight, bias = (tensors[name].double().numpy() for name in ("mean", "scale", "weight", "bias"))
    return ((rows - mean) / scale) @ weight + bias


def stack_rows(pairs: Sequence[tuple[Tensor, Tensor]]) -> Rows:
    """The features of `train.gate.features` as rows for `fit`."""
    return np.concatenate([torch.cat(pair, dim=1).double().numpy() for pair in pairs])
