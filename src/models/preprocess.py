"""A picture -> the input of a network: which part of it, in which colour, at which size."""

from typing import Any, NamedTuple

import timm.data
from PIL import Image

from src.models.config import PretrainedConfig
from src.models.lesion_finder import LesionFinder
from src.models.prediction import RegionKind
from src.pictures.picture import Box
from src.pictures.scanned_field import Field
from src.tasks import Task


class Region(NamedTuple):
    """The part of a picture that a network reads: `image` is the part in `box`, in the task's colour."""

    image: Image.Image
    box: Box
    kind: RegionKind


def select_region(field: Field, task: Task, channels: int, finder: LesionFinder | None = None) -> Region:
    """The part of a picture that a network reads, in the task's colour.

    `field`: what `scanned_field.crop` made of the picture. `channels`: 1 gives mode L, 3 gives RGB, grey for a grey
    task. `finder` looks for the lesion in the field; where it finds none, the region is the field.
    """
    image, box = field
    kind: RegionKind = "field" if task.crop_to_roi else "picture"
    lesion = finder.find(image) if finder is not None else None
    if lesion is not None:
        left, upper, right, lower = lesion
        image, kind = image.crop(lesion), "lesion"
        box = left + box[0], upper + box[1], right + box[0], lower + box[1]
    if task.colour == "grey":
        image = image.convert("L")
    return Region(image.convert("L" if channels == 1 else "RGB"), box, kind)


def transform(config: PretrainedConfig, normalise: bool = True) -> Any:
    """timm's evaluation transform for a checkpoint: PIL image -> float32 (C, H, W), or uint8 where not normalised.

    The same that `timm.data.create_transform(**timm.data.resolve_model_data_config(model))` gives anyone.
    """
    return timm.data.create_transform(
        input_size=config.input_size,
        mean=config.mean,
        std=config.std,
        interpolation=config.interpolation,
        crop_pct=config.crop_pct,
        crop_mode=config.crop_mode,
        normalize=normalise,
    )


def visible(box: Box, config: PretrainedConfig) -> Box:
    """The part of `box` that reaches the network: timm's crop mode "center" keeps the central square only."""
    left, upper, right, lower = box
    if config.crop_mode == "squash":
        return box
    side = min(right - left, lower - upper)
    left, upper = left + (right - left - side) // 2, upper + (lower - upper - side) // 2
    return left, upper, left + side, upper + side
