"""Flaws of an image: what makes it worse than the images that the model learned from, and what to do about it.

A flaw leads to a warning, never to a refusal. The limits are percentiles of the task's own training images; `python -m
train.quality` writes them into quality.json. `train.evaluate` measures what a flaw does to the model's answers. This
module knows no network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, TypeAdapter

from src.pictures.picture import Picture
from src.pictures.quality_measures import measure
from src.tasks import Task

FILE = Path(__file__).with_name("quality.json")

Tail = Literal["low", "high"]


@dataclass(frozen=True)
class Flaw:
    """Something that can be wrong with an image.

    `code`: its name in evaluation.json and in tests. `measure`: the name of one of `quality_measures.measure`. An image
    has the flaw if that measure lies beyond the limit. `percent` per cent of the training images lie beyond it, at
    their `tail`. `description`: the flaw as a sentence without its full stop. `advice`: what to do about it, for tasks
    that give no advice of their own (`Task.advice`). `at_least`: the smallest limit of a "high" tail, because datasets
    of one format, or all in grey, do not show which differences are harmless elsewhere. `colour`: the colour of the
    tasks whose images can have the flaw; None for any. `field`: whether only scanned fields can have it.
    """

    code: str
    measure: str
    tail: Tail
    description: str
    advice: str
    percent: float = 0.5
    at_least: float = 0.0
    colour: Literal["rgb", "grey"] | None = None
    field: bool = False

    def applies(self, task: Task) -> bool:
        """Whether an image of this task can have the flaw."""
        return self.colour in (None, task.colour) and (task.crop_to_roi or not self.field)

    def sentence(self, task: Task) -> str:
        """The flaw and the advice for this task, as one sentence."""
        return f"{self.description}: {task.advice.get(self.code, self.advice)}."


def _cast(code: str, measure: str, tail: Tail) -> Flaw:
    description = f"The image has a {code.removesuffix('_cast')} cast"
    return Flaw(code, measure, tail, description, "set the white balance", colour="rgb")


FLAWS: tuple[Flaw, ...] = (
    Flaw("resolution", "short_side", "low", "The image has too few pixels", "give the original, not a copy"),
    Flaw(
        "narrow",
        "aspect",
        "high",
        "The image is unusually long and narrow",
        "give the whole image, not a strip",
        at_least=2.0,
    ),
    Flaw(
        "focus",
        "focus",
        "low",
        "The image is out of focus or smeared",
        "set the focal zone at the lesion and save the frame anew",
    ),
    Flaw(
        "contrast",
        "contrast",
        "low",
        "The image is nearly uniform, with little to see in it",
        "raise the dynamic range or move the probe",
    ),
    Flaw(
        "dark",
        "brightness",
        "low",
        "The image is unusually dark",
        "raise the gain",
    ),
    Flaw(
        "overexposed",
        "white",
        "high",
        "Much of the image is white or overexposed",
        "lower the gain",
        at_least=0.02,
    ),
    Flaw("no_colour", "chroma", "low", "The image has no colour", "give the colour image", colour="rgb"),
    _cast("green_cast", "red_green", "low"),
    _cast("red_cast", "red_green", "high"),
    _cast("blue_cast", "yellow_blue", "low"),
    _cast("yellow_cast", "yellow_blue", "high"),
    Flaw(
        "tint",
        "tint",
        "high",
        "The image is tinted; it is read in grey",
        "switch the display's colour map to grey",
        at_least=8.0,
        colour="grey",
    ),
    Flaw(
        "doppler",
        "vivid",
        "high",
        "Part of the image is in colour, like colour Doppler",
        "save the frame in B-mode only",
        at_least=0.002,
        colour="grey",
    ),
    Flaw(
        "callipers",
        "crosses",
        "high",
        "The image seems to have callipers in it, which mark where someone saw a lesion",
        "save the frame before measuring",
        percent=20,
        field=True,
    ),
    Flaw(
        "text",
        "letters",
        "high",
        "The image seems to have text burnt into it",
        "switch the annotations off and save the frame anew",
        percent=25,
        field=True,
    ),
)

EXPLAINED_BY: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        **{flaw.code: frozenset({"no_colour"}) for flaw in FLAWS if flaw.code.endswith("_cast")},
        "no_colour": frozenset({"dark"}),
        "focus": frozenset({"resolution", "contrast", "dark"}),
        "contrast": frozenset({"dark", "overexposed"}),
        "tint": frozenset({"doppler"}),
    }
)
"""The code of a flaw -> the flaws that explain it, so that one cause leads to one warning.

A small copy is blurred once it is enlarged, a black or white image is uniform, and a grey image has less red than
any other.
"""


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


class Effect(BaseModel):
    """How a flaw changed the predictions when it was put into `n` validation images.

    `mean_change`: the mean absolute change of p(malignant). `flipped`: the share whose decision changed at the default
    threshold. `warned`: the share with a warning of this flaw.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    n: int = Field(ge=1)
    mean_change: float = Field(ge=0, le=1)
    flipped: float = Field(ge=0, le=1)
    warned: float = Field(ge=0, le=1)

    @property
    def sentence(self) -> str:
        """The effect in words, to stand after the flaw's own sentence."""
        return (
            f"(When {self.n} validation images were given this flaw, p(malignant) changed by {self.mean_change:.2f} "
            f"on average, and {self.flipped:.0%} of the decisions changed.)"
        )


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
