"""A classifier as one module without Vigil: resized 8-bit pixels -> calibrated probabilities.

The module does everything that follows the resizing of an image: it normalises the pixels, runs each network on the
views of the test-time augmentation, averages the logits, and calibrates. `Metadata` says how to prepare the image.
`src.export` writes both.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from PIL import Image
from pydantic import BaseModel
from torch import Tensor, nn

from src.models.checkpoint_info import CheckpointError
from src.models.checkpoints import Checkpoint
from src.models.probabilities import class_logits
from src.models.tta import views
from src.tasks import TASKS


class Metadata(BaseModel):
    """Everything that a program needs besides an exported network.

    `read`: the part of an image that the network reads: the whole picture, the scanned field of an ultrasound image, or
    the lesion in it. `mode`: Pillow's mode of that part. `grey`: whether it is converted to grey first. `side`: the
    side of the network's input in pixels. `squash`: whether both sides are resized to `side`; otherwise the shorter
    side is, and the central square is cut out. `filter`: the number of Pillow's resampling filter. `classes`: names by
    code, in the order of the probabilities. `malignant`: the codes whose probabilities add up to p(malignant).
    `threshold`: the decision is `refer` from this p(malignant) on.
    """

    task: str
    model: str
    revision: str
    weights_sha256: str
    read: Literal["picture", "scanned field", "lesion"]
    mode: Literal["L", "RGB"]
    grey: bool
    side: int
    squash: bool
    filter: int
    temperature: float
    classes: dict[str, str]
    malignant: list[str]
    threshold: float
    disclaimer: str = "Research and education only, not a diagnosis."


class Standalone(nn.Module):
    """Pixels, uint8 (N, side, side, channels) -> calibrated probabilities, float32 (N, classes)."""

    mean: Tensor
    std: Tensor

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        config = checkpoint.config
        self.networks = nn.ModuleList([checkpoint.network, *(member.network for member in checkpoint.members)])
        self.temperatures = [1.0, *(member.temperature for member in checkpoint.members)]
        self.augmentation = config.vigil.test_time_augmentation
        self.temperature = config.vigil.temperature
        self.register_buffer("mean", _per_channel(config.pretrained_cfg.mean))
        self.register_buffer("std", _per_channel(config.pretrained_cfg.std))

    def forward(self, pixels: Tensor) -> Tensor:
        """The probabilities, which add up to 1."""
        normalised = (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        # One view after another, as in `Predictor.logits`, so that memory does not grow with the number of views.
        logits = [
            class_logits(network(view)) / temperature
            for network, temperature in zip(self.networks, self.temperatures, strict=True)
            for view in views(normalised, self.augmentation)
        ]
        return torch.softmax(torch.stack(logits).mean(dim=0) / self.temperature, dim=1)


def metadata(checkpoint: Checkpoint) -> Metadata:
    """The metadata of a checkpoint's export.

    Raises CheckpointError for a checkpoint of several networks that read different parts of an image.
    """
    config = checkpoint.config
    if any(member.finder is not checkpoint.finder for member in checkpoint.members):
        raise CheckpointError(f"{config.vigil.name} reads two parts of an image. Such a model cannot be exported.")
    task, pretrained = TASKS[config.vigil.task], config.pretrained_cfg
    channels, side, _ = pretrained.input_size
    return Metadata(
        task=task.name,
        model=config.vigil.name,
        revision=checkpoint.revision,
        weights_sha256=config.vigil.sha256,
        read="lesion" if checkpoint.finder is not None else "scanned field" if task.crop_to_roi else "picture",
        mode="L" if channels == 1 else "RGB",
        grey=task.colour == "grey",
        side=side,
        squash=pretrained.crop_mode == "squash",
        filter=int(Image.Resampling[pretrained.interpolation.upper()]),
        temperature=config.vigil.temperature,
        classes={one.code: one.name for one in task.classes},
        malignant=[one.code for one in task.classes if one.malignant],
        threshold=config.vigil.default_threshold,
    )


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)
