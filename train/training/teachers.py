"""Trained checkpoints that answer beside a network that learns from them.

This module knows nothing of the loss that compares the answers.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from src.models import checkpoints
from src.models.config import TestTimeAugmentation
from src.models.probabilities import class_logits
from src.models.tta import views
from train.training.recipe import Recipe, RecipeError


class Teachers(nn.Module):
    """The mean of several networks' calibrated class logits, without gradients.

    `temperatures` has the calibration temperature of each network, and `kinds` the test-time augmentation over whose
    views its logits are averaged. Call it with normalised images, float32
    (N, channels, H, W); it returns logits, float32 (N, C).
    """

    def __init__(
        self, networks: Sequence[nn.Module], temperatures: Sequence[float], kinds: Sequence[TestTimeAugmentation]
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks).eval().requires_grad_(False)
        self.temperatures, self.kinds = tuple(temperatures), tuple(kinds)

    @classmethod
    def load(cls, recipe: Recipe, folders: Sequence[Path]) -> "Teachers":
        """The teachers in these checkpoint folders.

        Raises CheckpointError for a folder that does not verify, and RecipeError for one that reads other images than
        the recipe's network.
        """
        networks, temperatures, kinds = [], [], list[TestTimeAugmentation]()
        all_views = recipe.distillation is not None and recipe.distillation.all_views
        for folder in folders:
            checkpoint = checkpoints.load(recipe.task, folder)
            config = checkpoint.config
            read = config.pretrained_cfg
            if (read.input_size[0], read.mean, read.std) != (recipe.channels, recipe.mean, recipe.std):
                raise RecipeError(f"{folder} cannot teach: its images have other channels, mean or std.")
            if (checkpoint.finder is not None) != (recipe.lesion_crops is not None):
                raise RecipeError(f"{folder} cannot teach: only one of the two networks reads lesion crops.")
            networks.append(checkpoint.network)
            temperatures.append(config.vigil.temperature)
            kinds.append(config.vigil.test_time_augmentation if all_views else "none")
        return cls(networks, temperatures, kinds)

    def forward(self, pixels: Tensor) -> Tensor:
        """The teachers' logits for a batch."""
        with torch.no_grad():
            answers = [
                torch.stack([class_logits(network(view).float()) for view in views(pixels, kind)]).mean(dim=0)
                / temperature
                for network, temperature, kind in zip(self.networks, self.temperatures, self.kinds, strict=True)
            ]
        return torch.stack(answers).mean(dim=0)


class WithTeachers(nn.Module):
    """A module whose call returns the logits of `network` and of its `teachers`, as DistributedDataParallel needs.

    `mixup`: as in `recipe.Distillation`.
    """

    def __init__(self, network: nn.Module, teachers: Teachers, mixup: float = 0.0) -> None:
        super().__init__()
        self.network = network
        self.teachers = teachers
        self.mixup = mixup

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of both, (N, outputs) and (N, C)."""
        if self.mixup:
            shares = torch.distributions.Beta(self.mixup, self.mixup).sample((len(pixels), 1, 1, 1)).to(pixels)
            pixels = pixels.lerp(pixels[torch.randperm(len(pixels), device=pixels.device)], shares)
        return self.network(pixels), self.teachers(pixels)
