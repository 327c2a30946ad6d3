"""An image -> the network's input: select the part to read, convert its colour and resize it."""

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
    """The part of an image that the network reads.

    `image`: that part, mode L or RGB. `box`: its place in the whole image. `kind`: the kind of that part.
    """

    image: Image.Image
    box: Box
    kind: RegionKind


def select_region(field: Field, task: Task, channels: int, finder: LesionFinder | None = None) -> Region:
    """Select the part of an image that the network reads, and convert it to the task's colour.

    `field`: the result of `scanned_field.crop`. `channels`: 1 for an image of mode L, 3 for mode RGB, which is grey for
    a grey task. `finder`: searches the field for the lesion. If it finds none, the region is the field.
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
    """timm's evaluation transform for a checkpoint: PIL image -> tensor (C, H, W).

    The tensor is float32 and normalised, or uint8 if `normalise` is false. The transform equals
    `timm.data.create_transform(**timm.data.resolve_model_data_config(model))`.
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
    """The part of `box` that reaches the network. timm's crop mode "center" keeps only the central square."""
    left, upper, right, lower = box
    if config.crop_mode == "squash":
        return box
    side = min(right - left, lower - upper)
    left, upper = left + (right - left - side) // 2, upper + (lower - upper - side) // 2
    return left, upper, left + side, upper + side
