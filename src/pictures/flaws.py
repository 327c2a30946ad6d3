"""Flaws of an image: what can make it worse than the images that the model learned from, and what to do about it.

`src.pictures.quality` finds them. This module has their texts, and measures nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from src.tasks import Task

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
