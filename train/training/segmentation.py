"""The job of training a U-Net that finds the lesion, and the folder of the released finder.

The folder has region.safetensors and region.json. A classifier's run gets it by `--region` and copies both files into
its checkpoint folder. An image without a lesion has an empty mask.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from src.models import lesion_finder
from src.models.checkpoints import CheckpointError, build, load_lesion_finder, sha256
from src.models.config import LESION_FINDER_FILE, LesionFinderConfig
from src.models.lesion_finder import LesionFinder
from src.models.networks import LesionUNet
from src.pictures import scanned_field
from src.pictures.picture import Box
from src.tasks import TASKS, Task
from train.data import Sample
from train.training.dataset import LesionSet, load_arrays, load_masks
from train.training.loop import Job, Normalise, Precision, load_pretrained
from train.training.recipe import RegionRecipe

DESCRIPTION = "region.json"


class LesionSearch(Job):
    """The job of a `RegionRecipe`: pixelwise cross-entropy plus Dice loss (Milletari et al. 2016, arXiv:1606.04797).

    `pretrained` says where the weights of the backbone, EfficientNetV2-B0, come from: "hub", a file or "none".
    """

    recipe: RegionRecipe
    network: LesionUNet

    def __init__(
        self, recipe: RegionRecipe, samples: Sequence[Sample], pretrained: str = "none", validates: bool = True
    ) -> None:
        self.recipe = recipe
        task, side = TASKS[recipe.task], recipe.image_size
        torch.manual_seed(recipe.seed)
        self.network = cast(LesionUNet, build(recipe.architecture, 1, 3))
        if pretrained != "none":
            self._start_from(pretrained)
        training = _with_masks(samples, "train")
        self.labels = [sample.label for sample in training]
        self.sources = [sample.source for sample in training]
        arrays = load_arrays(training, task, 3, round(1.25 * side))
        self.pictures = LesionSet(arrays, load_masks(training, task, arrays), self.labels, recipe)
        if validates:
            self.held_out, self.truth = load_resized(_with_masks(samples, "validation"), task, side)

    def _start_from(self, pretrained: str) -> None:
        # The last stage and the head, which pretrained weights have too, are pruned from the backbone.
        whole: Any = timm.create_model(LesionUNet.BACKBONE, pretrained=pretrained == "hub", num_classes=0)
        if pretrained != "hub":
            load_pretrained(whole, "the backbone", pretrained, except_for=whole.pretrained_cfg["classifier"])
        known = self.network.backbone.state_dict().keys()
        self.network.backbone.load_state_dict({key: t for key, t in whole.state_dict().items() if key in known})

    def loss(self, answers: Any, targets: Tensor) -> Tensor:
        """The mean cross-entropy of the pixels, plus one minus the mean Dice coefficient of the images."""
        logits = answers.float()
        overlap = _soft_dice(logits.sigmoid(), targets)
        return F.binary_cross_entropy_with_logits(logits, targets) + 1 - overlap.mean()

    def validate(self, network: nn.Module, normalise: Normalise, precision: Precision) -> dict[str, float]:
        """The mean Dice coefficient of images with a lesion, and the share of the others in which nothing is found."""
        network.eval()
        with torch.no_grad(), precision.autocast():
            rows = [network(normalise(batch)).float().sigmoid()[:, 0].cpu() for batch in self.held_out.split(32)]
        return segmentation_metrics(torch.cat(rows).numpy(), self.truth, self.recipe.threshold, self.recipe.smallest)


def _with_masks(samples: Sequence[Sample], split: str | None = None) -> list[Sample]:
    """The images with an annotated lesion or without a lesion, of one split or of all."""
    return [s for s in samples if split in (None, s.split) and (s.masks or not s.has_lesion)]


def evaluate_finder(finder: LesionFinder, task: Task, samples: Sequence[Sample]) -> dict[str, float] | None:
    """The released finder's `segmentation_metrics` on those `samples` that have masks or no lesion, and their number
    `n`.

    None for a dataset without masks.
    """
    chosen = _with_masks(samples)
    if not chosen:
        return None
    _, truth = load_resized(chosen, task, finder.config.side)
    found = np.stack(
        [finder.probabilities(scanned_field.crop(sample.picture().image, task).image) for sample in chosen]
    )
    return {"n": len(chosen), **segmentation_metrics(found, truth, finder.config.threshold, finder.config.smallest)}


def load_resized(samples: Sequence[Sample], task: Task, side: int) -> tuple[Tensor, np.ndarray]:
    """The scanned fields, uint8 (N, 3, side, side), and the masks, bool (N, side, side), in the U-Net's size."""
    arrays = load_arrays(samples, task, 3, 10**6)
    masks = load_masks(samples, task, arrays)
    pixels = torch.stack([_resized(torch.from_numpy(array.copy()).permute(2, 0, 1), side) for array in arrays])
    drawn = torch.stack([_resized(torch.from_numpy(255 * mask)[None], side)[0] for mask in masks])
    return pixels, drawn.numpy() > 127


def _resized(image: Tensor, side: int) -> Tensor:
    """uint8 (C, H, W) -> uint8 (C, side, side)."""
    return F.interpolate(image[None].float(), size=(side, side), mode="bilinear", antialias=True)[0].round().byte()


def _soft_dice(probabilities: Tensor, truth: Tensor) -> Tensor:
    """The Dice coefficient of each image; 1 where mask and prediction are empty."""
    dims = tuple(range(1, truth.ndim))
    return (2 * (probabilities * truth).sum(dims) + 1) / (probabilities.sum(dims) + truth.sum(dims) + 1)


def segmentation_metrics(
    probabilities: np.ndarray, truth: np.ndarray, threshold: float, smallest: float
) -> dict[str, float]:
    """How well lesions are found: `probabilities` (N, H, W), 0 to 1, against the masks `truth` (N, H, W), bool.

    "dice" is the mean Dice coefficient of images with a lesion, with pixels at or above `threshold` as the lesion.
    "hit" is the share of them whose box has its centre in the lesion's own box. "empty" is the share of the other
    images in which nothing is found.
    """
    lesion = np.asarray(truth.any(axis=(1, 2)))
    found = probabilities >= threshold
    dice = 2 * (found & truth).sum(axis=(1, 2))[lesion] / (found.sum(axis=(1, 2)) + truth.sum(axis=(1, 2)))[lesion]
    boxes = [lesion_finder.lesion_extent(p, threshold, smallest) for p in probabilities]
    hits = [_inside(box, mask) for box, mask, there in zip(boxes, truth, lesion, strict=True) if there]
    empty = [box is None for box, there in zip(boxes, lesion, strict=True) if not there]
    return {
        "dice": float(np.mean(dice)) if hits else 0.0,
        "hit": float(np.mean(hits)) if hits else 0.0,
        "empty": float(np.mean(empty)) if empty else 1.0,
    }


def _inside(box: Box | None, mask: np.ndarray) -> bool:
    lesion = lesion_finder.mask_extent(mask)
    if box is None or lesion is None:
        return False
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return lesion[0] <= x <= lesion[2] and lesion[1] <= y <= lesion[3]


def release(
    out: Path, recipe: RegionRecipe, tensors: Mapping[str, Tensor], history: Sequence[Mapping[str, Any]]
) -> None:
    """Write region.safetensors (float16) and region.json into `out`."""
    halved = {key: (t.half() if t.is_floating_point() else t).contiguous() for key, t in tensors.items()}
    safetensors.torch.save_file(halved, out / LESION_FINDER_FILE, metadata={"format": "pt"})
    about = {
        "architecture": recipe.architecture,
        "side": recipe.image_size,
        "mean": recipe.mean,
        "std": recipe.std,
        "threshold": recipe.threshold,
        "smallest": recipe.smallest,
        "margin": recipe.margin,
        "sha256": sha256(out / LESION_FINDER_FILE),
        "recipe": recipe.model_dump(mode="json"),
        "history": list(history),
    }
    (out / DESCRIPTION).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def load(folder: Path) -> LesionFinder:
    """The finder in `folder`, which `release` wrote. Raises CheckpointError, which names the problem."""
    try:
        config = LesionFinderConfig.model_validate_json((folder / DESCRIPTION).read_bytes())
    except (OSError, ValidationError) as error:
        raise CheckpointError(
            f"{folder} has no valid {DESCRIPTION}, which the training of a lesion finder writes."
        ) from error
    return load_lesion_finder(config, folder)


def copy(folder: Path, out: Path) -> dict[str, Any]:
    """Copy the finder from `folder` into the classifier's folder `out`; returns its block for config.json."""
    shutil.copyfile(folder / LESION_FINDER_FILE, out / LESION_FINDER_FILE)
    return json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
