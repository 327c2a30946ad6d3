"""The job of training a classifier, which `train.training.loop` runs.

This module knows how networks start, which images they read and how validation measures them. It knows nothing of how
an epoch goes.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import timm
import torch
from torch import Tensor, nn

from src.models.checkpoints import build
from src.models.config import PretrainedConfig
from src.models.lesion_finder import LesionFinder, mask_extent
from src.models.networks import EfficientNetV2MCBAM, Network
from src.models.probabilities import class_logits
from src.tasks import TASKS
from train.data import Sample
from train.evaluation import metrics
from train.training.dataset import TrainingSet, load_arrays, load_evaluation_tensor, load_masks
from train.training.loop import Job, Normalise, Precision, load_pretrained
from train.training.losses import FocalLoss, class_weights, distillation_loss
from train.training.recipe import Recipe
from train.training.teachers import Teachers, WithTeachers


def pretrained_config(recipe: Recipe) -> PretrainedConfig:
    """The preprocessing of the recipe's released model."""
    return PretrainedConfig(
        input_size=(recipe.channels, recipe.image_size, recipe.image_size),
        mean=recipe.mean,
        std=recipe.std,
        interpolation=recipe.interpolation,
        crop_pct=1.0,
        crop_mode=recipe.crop_mode,
    )


def outputs(task: str, architecture: str) -> int:
    """The number of logits of a network for this task: our two-class networks from the literature have one."""
    classes = len(TASKS[task].codes)
    return 1 if architecture in ("vigil_attention_cnn96", "vigil_linear28") and classes == 2 else classes


def start(recipe: Recipe, pretrained: str) -> Network:
    """The network before training, with ImageNet weights from the Hub ("hub"), weights from a file with timm's names,
    or none.

    Raises TrainingError for a file that does not fit: only the classifier may be missing.
    """
    number = outputs(recipe.task, recipe.architecture)
    rates: dict[str, Any] = {
        name: rate
        for name, rate in (("drop_rate", recipe.drop_rate), ("drop_path_rate", recipe.drop_path_rate))
        if rate
    }
    if pretrained == "hub" and not recipe.architecture.startswith("vigil_"):
        made = timm.create_model(
            recipe.architecture, pretrained=True, num_classes=number, in_chans=recipe.channels, **rates
        )
        return _undecided(cast(Network, made))
    network = build(recipe.architecture, number, recipe.channels, **rates)
    if pretrained in ("hub", "none"):
        return network
    # ImageNet weights are for the backbone where our network has one of timm's inside.
    target = cast(Network, network.backbone) if isinstance(network, EfficientNetV2MCBAM) else network
    load_pretrained(target, recipe.architecture, pretrained, except_for=target.pretrained_cfg["classifier"])
    return _undecided(network)


def _undecided(network: Network) -> Network:
    """`network` with a classifier of zeros, which gives all classes the same logit (Kolesnikov et al. 2020,
    arXiv:1912.11370).

    timm initialises EfficientNet's classifier within +-1/sqrt(classes): 0.03 for ImageNet's thousand classes, but 0.7
    for two. Such a classifier is confident at random (its loss is 2.5), and training bends the pretrained features to
    fit it (dev/LOG.md).
    """
    for parameter in network.get_classifier().parameters():
        nn.init.zeros_(parameter)
    return network


def predict(network: nn.Module, pixels: Tensor, normalise: Normalise, precision: Precision) -> np.ndarray:
    """Class logits, float64 (N, C), of uint8 images (N, channels, H, W), in evaluation mode."""
    network.eval()
    rows = []
    with torch.no_grad(), precision.autocast():
        for batch in pixels.split(64):
            rows.append(class_logits(network(normalise(batch)).float()).cpu())
    return torch.cat(rows).double().numpy()


class Classification(Job):
    """The job of a `Recipe`.

    `pretrained` is the same argument as that of `start`. `finder` is the lesion finder, for a recipe with
    `lesion_crops`. `teachers` answer beside the network, for a recipe with `distillation`. `validates` is True in the
    process that calls `validate`; the others load no validation images.
    """

    recipe: Recipe
    network: Network

    def __init__(
        self,
        recipe: Recipe,
        samples: Sequence[Sample],
        pretrained: str = "none",
        finder: LesionFinder | None = None,
        teachers: Teachers | None = None,
        validates: bool = True,
    ) -> None:
        self.recipe = recipe
        self.task = task = TASKS[recipe.task]
        torch.manual_seed(recipe.seed)
        self.network = start(recipe, pretrained)
        self.auxiliary = recipe.loss.auxiliary
        self.teachers = teachers
        self.has_unused_parameters = isinstance(self.network, EfficientNetV2MCBAM) and not self.auxiliary

        training = [sample for sample in samples if sample.split == "train"]
        self.labels = [sample.label for sample in training]
        self.sources = [sample.source for sample in training]
        # A quarter larger than the network's input: random crops keep their detail, and memory stays bounded.
        side = round(1.25 * max(recipe.train_size or 0, recipe.image_size))
        arrays = load_arrays(training, task, recipe.channels, side)
        lesions = list(map(mask_extent, load_masks(training, task, arrays))) if recipe.lesion_crops else []
        self.pictures = TrainingSet(arrays, self.labels, recipe, lesions)
        if validates:
            validation = [sample for sample in samples if sample.split == "validation"]
            self.held_out = load_evaluation_tensor(validation, task, pretrained_config(recipe), finder)
            self.truth = np.array([sample.label for sample in validation])

        weights = class_weights(self.labels, len(task.codes), recipe.loss.class_weight_power)
        self.focal = FocalLoss(
            recipe.loss.gamma, weights, recipe.loss.label_smoothing, recipe.loss.alpha, recipe.loss.cross_entropy
        )

    def learner(self) -> nn.Module:
        """The network; with an auxiliary head or with teachers, a module that also returns the others' logits."""
        if self.teachers is not None:
            assert self.recipe.distillation is not None
            teachers = self.teachers.to(next(self.network.parameters()).device)
            return WithTeachers(self.network, teachers, self.recipe.distillation.mixup)
        return _WithAuxiliary(self.network) if self.auxiliary else self.network

    def loss(self, answers: Any, targets: Tensor) -> Tensor:
        """The main head's loss, plus the auxiliary head's loss times its weight.

        With teachers, it is the loss of `Distillation`.
        """
        focal = self.focal.to(targets.device)
        settings = self.recipe.distillation
        if settings is not None:
            logits, taught = class_logits(answers[0]), answers[1]
            divergence = distillation_loss(logits, taught, settings.temperature)
            return settings.share * divergence + (1 - settings.share) * focal(logits, targets)
        if not self.auxiliary:
            return focal(class_logits(answers), targets)
        main, auxiliary = (focal(class_logits(logits), targets) for logits in answers)
        return main + self.auxiliary * auxiliary

    def validate(self, network: nn.Module, normalise: Normalise, precision: Precision) -> dict[str, float]:
        """`metrics.quick` on validation, as the released model reads it but without test-time augmentation."""
        return metrics.quick(self.task, predict(network, self.held_out, normalise, precision), self.truth)


class _WithAuxiliary(nn.Module):
    """A module whose call returns the logits of both heads of a network, as DistributedDataParallel needs."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = cast(EfficientNetV2MCBAM, network)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.forward_with_auxiliary(x)
