"""Finds the flaws of an image (`src.pictures.flaws`).

A flaw leads to a warning, never to a refusal. The limits are percentiles of the task's own training images; `python -m
train.quality` writes them into quality.json. `train.evaluate` measures what a flaw does to the model's answers. This
module knows no network.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, TypeAdapter

from src.pictures.flaws import EXPLAINED_BY, FLAWS, Effect, Flaw
from src.pictures.picture import Picture
from src.pictures.quality_measures import measure
from src.tasks import Task

FILE = Path(__file__).with_name("quality.json")


class Limit(BaseModel):
    """The value `limit` of a measure, and its `percentile` among the training images."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    percentile: float = Field(ge=0, le=100)
    limit: float


class Limits(BaseModel):
    """A task's limits by the code of the flaw, from `n` training images.

    The measures were taken after the shorter side was scaled to `side` pixels.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    side: int = Field(ge=28, le=640)
    n: NonNegativeInt
    limits: dict[str, Limit]


@cache
def limits() -> Mapping[str, Limits]:
    """The limits of every task, read from quality.json."""
    return MappingProxyType(TypeAdapter(dict[str, Limits]).validate_json(FILE.read_bytes()))


def find_flaws(picture: Picture, field: Image.Image, task: Task, input_side: int) -> list[Flaw]:
    """The flaws of an image, one per cause. An empty list does not promise a good image.

    `field`: the part that the model reads (`scanned_field.crop`), mode RGB. `input_side`: the side of the network's
    input in pixels.
    """
    task_limits = limits().get(task.name)
    if task_limits is None:  # a new task, for which `python -m train.quality` has not been run yet
        return []
    measures = measure(picture.image, field, task, task_limits.side)
    flaws = []
    for flaw in FLAWS:
        if not flaw.applies(task) or flaw.code not in task_limits.limits:
            continue
        value, limit = measures[flaw.measure], task_limits.limits[flaw.code].limit
        if flaw.code == "resolution":
            limit = min(limit, input_side)  # an image at least as large as the network's input is large enough
        if value < limit if flaw.tail == "low" else value > limit:
            flaws.append(flaw)
    codes = {flaw.code for flaw in flaws}
    return [flaw for flaw in flaws if not codes & EXPLAINED_BY.get(flaw.code, frozenset())]


def warnings(
    picture: Picture,
    field: Image.Image,
    task: Task,
    input_side: int,
    effects: Mapping[str, Effect] = MappingProxyType({}),
) -> tuple[str, ...]:
    """The warnings for the person: `picture.notes`, then one sentence per flaw of `find_flaws`.

    `effects`: the effect of each flaw by its code. Where it has a flaw's effect, the warning ends with that.
    """
    sentences = []
    for flaw in find_flaws(picture, field, task, input_side):
        effect = effects.get(flaw.code)
        sentences.append(f"{flaw.sentence(task)} {effect.sentence}" if effect else flaw.sentence(task))
    return (*picture.notes, *sentences)
