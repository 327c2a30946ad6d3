"""Is a picture good enough? What makes it unlike those the model learned from, as warnings with a recommendation.

A warning, never a refusal. Every limit is a percentile of the task's own training pictures (quality.json, written by
`python -m train.quality`); what a flaw does to the answer, `train.evaluate` measures. Knows nothing of networks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, TypeAdapter
from scipy import ndimage

from src.pictures.picture import Picture
from src.tasks import Task

FILE = Path(__file__).with_name("quality.json")

# What the measures are, not where their limits lie: brightness and chroma (largest minus smallest of R, G, B) run 0 to
# 255, and marks are looked for in a field of MARKS_SIDE pixels at most.
WHITE = 250
VIVID = 60  # chroma of colour Doppler's paint; a tinted display has less
MARKS_SIDE = 384
MARK_TOP_HAT = 90  # how much brighter than its surroundings a line of a mark or a letter is
MARK_BRIGHTNESS = 160

Tail = Literal["low", "high"]


@dataclass(frozen=True)
class Flaw:
    """Something that can be wrong with a picture.

    `code` names it in evaluation.json and tests. It is there where `measure` lies beyond the limit, in the `tail` that
    `percent` of the training pictures have. `says` is one sentence, `advice` what to do about it for the
    tasks without an `advice` of their own. No limit of a "high" tail is below `at_least`: sets of one format, or all
    grey, do not tell what differs elsewhere and does no harm. `colour`: of the task's pictures; None for any. `field`:
    of scanned fields only.
    """

    code: str
    measure: str
    tail: Tail
    says: str
    advice: str
    percent: float = 0.5
    at_least: float = 0.0
    colour: Literal["rgb", "grey"] | None = None
    field: bool = False

    def applies(self, task: Task) -> bool:
        """Whether a picture of this task can have it."""
        return self.colour in (None, task.colour) and (task.crop_to_roi or not self.field)

    def sentence(self, task: Task) -> str:
        """What is wrong and what to do about it, in one line."""
        return f"{self.says}: {task.advice.get(self.code, self.advice)}."


def _cast(code: str, measure: str, tail: Tail) -> Flaw:
    says = f"The picture has a {code.removesuffix('_cast')} cast"
    return Flaw(code, measure, tail, says, "set the white balance", colour="rgb")


FLAWS: tuple[Flaw, ...] = (
    Flaw("resolution", "short_side", "low", "The picture has too few pixels", "give the original, not a copy"),
    Flaw(
        "narrow",
        "aspect",
        "high",
        "The picture is unusually long and narrow",
        "give the whole picture, not a strip",
        at_least=2.0,
    ),
    Flaw(
        "focus",
        "focus",
        "low",
        "The picture is out of focus or smeared",
        "set the focal zone at the lesion and save the frame anew",
    ),
    Flaw(
        "contrast",
        "contrast",
        "low",
        "The picture is nearly uniform, with little to see in it",
        "raise the dynamic range or move the probe",
    ),
    Flaw(
        "dark",
        "brightness",
        "low",
        "The picture is unusually dark",
        "raise the gain",
    ),
    Flaw(
        "overexposed",
        "white",
        "high",
        "Much of the picture is white or overexposed",
        "lower the gain",
        at_least=0.02,
    ),
    Flaw("no_colour", "chroma", "low", "The picture has no colour", "give the colour picture", colour="rgb"),
    _cast("green_cast", "red_green", "low"),
    _cast("red_cast", "red_green", "high"),
    _cast("blue_cast", "yellow_blue", "low"),
    _cast("yellow_cast", "yellow_blue", "high"),
    Flaw(
        "tint",
        "tint",
        "high",
        "The picture is tinted; it is read in grey",
        "switch the display's colour map to grey",
        at_least=8.0,
        colour="grey",
    ),
    Flaw(
        "doppler",
        "vivid",
        "high",
        "Part of the picture is painted in colour, as colour Doppler is",
        "save the frame in B-mode alone",
        at_least=0.002,
        colour="grey",
    ),
    Flaw(
        "callipers",
        "crosses",
        "high",
        "The picture seems to have callipers in it, which tell where someone saw a lesion",
        "save the frame before measuring",
        percent=20,
        field=True,
    ),
    Flaw(
        "text",
        "letters",
        "high",
        "The picture seems to have text burnt into it",
        "switch the annotations off and save the frame anew",
        percent=25,
        field=True,
    ),
    Flaw(
        "split",
        "seam",
        "high",
        "The picture seems to be a split view of two fields",
        "give one field, not two side by side",
        field=True,
    ),
)


class Limit(BaseModel):
    """A limit and of which percentile of the training pictures' measure it is the value."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    percentile: float = Field(ge=0, le=100)
    limit: float


class Limits(BaseModel):
    """What is usual for a task: limits by a flaw's code, from the measures of `n` training pictures whose shorter side
    was brought to `side` pixels."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    side: int = Field(ge=28, le=640)
    n: NonNegativeInt
    limits: dict[str, Limit]


@cache
def limits() -> Mapping[str, Limits]:
    """The limits of every task, read from quality.json."""
    return MappingProxyType(TypeAdapter(dict[str, Limits]).validate_json(FILE.read_bytes()))


def found(picture: Picture, field: Image.Image, task: Task, input_side: int) -> list[Flaw]:
    """The flaws of a picture; an empty list promises nothing.

    `field`: the part that is read (`scanned_field.crop`). `input_side`: of the network's input, in pixels.
    """
    usual = limits().get(task.name)
    if usual is None:  # a new task, for which `python -m train.quality` was not run yet
        return []
    measured = measures(picture.image, field, task, usual.side)
    flaws = [flaw for flaw in FLAWS if flaw.applies(task) and flaw.code in usual.limits]
    there = []
    for flaw in flaws:
        value, limit = measured[flaw.measure], usual.limits[flaw.code].limit
        if flaw.code == "resolution":
            limit = min(limit, input_side)  # more than the network takes is never too little
        if value < limit if flaw.tail == "low" else value > limit:
            there.append(flaw)
    codes = {flaw.code for flaw in there}
    # One cause, one warning: a small copy is blurred once enlarged, a black or white picture is uniform, a grey one has
    # less red than any other.
    hidden = {
        **{flaw.code: codes & {"no_colour"} for flaw in FLAWS if flaw.code.endswith("_cast")},
        "no_colour": codes & {"dark"},
        "focus": codes & {"resolution", "contrast", "dark"},
        "contrast": codes & {"dark", "overexposed"},
        "tint": codes & {"doppler"},
    }
    return [flaw for flaw in there if not hidden.get(flaw.code)]


class Effect(BaseModel):
    """What a flaw put into `n` validation pictures did: the mean absolute change of p(malignant), and the shares whose
    decision at the default threshold changed and that were warned of."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    n: int = Field(ge=1)
    mean_change: float = Field(ge=0, le=1)
    flipped: float = Field(ge=0, le=1)
    warned: float = Field(ge=0, le=1)

    @property
    def sentence(self) -> str:
        """The effect in words, to stand after the flaw's own sentence."""
        return (
            f"(In {self.n} validation pictures made so, p(malignant) moved by {self.mean_change:.2f} on average "
            f"and {self.flipped:.0%} of the decisions changed.)"
        )


def warnings(
    picture: Picture,
    field: Image.Image,
    task: Task,
    input_side: int,
    effects: Mapping[str, Effect] = MappingProxyType({}),
) -> tuple[str, ...]:
    """Sentences for the person: `picture.notes`, then one for each flaw of `found`.

    Where `effects` has the flaw's code, its sentence also says what that flaw did to the model's answers.
    """
    sentences = []
    for flaw in found(picture, field, task, input_side):
        effect = effects.get(flaw.code)
        sentences.append(f"{flaw.sentence(task)} {effect.sentence}" if effect else flaw.sentence(task))
    return (*picture.notes, *sentences)


def measures(image: Image.Image, field: Image.Image, task: Task, side: int) -> dict[str, float]:
    """Every measure of an upright RGB picture `image`, of which `field` is the part that is read.

    `side`: the length in pixels to which the shorter side is scaled first, so that a large picture and its small copy
    agree.
    short_side in pixels and aspect (longer over shorter side) are the picture's own; brightness is the 95th percentile
    and contrast the standard deviation of grey; focus the standard deviation of its Laplacian over that of itself.
    """
    width, height = image.size
    scale = side / min(field.size)
    size = round(field.width * scale), round(field.height * scale)
    # Long strips are not enlarged without end.
    size = min(size[0], 4 * side), min(size[1], 4 * side)
    shown = field if size == field.size else field.resize(size, Image.Resampling.BICUBIC, reducing_gap=3)
    rgb = np.asarray(shown).astype(np.float32)
    grey = np.asarray(shown.convert("L")).astype(np.float32)
    chroma = np.ptp(rgb, axis=2)
    # Without a tint, which makes all of a picture colourful and is no paint.
    untinted = np.ptp(rgb * (rgb.mean() / np.maximum(rgb.mean(axis=(0, 1)), 1)), axis=2)
    measured = {
        "short_side": min(width, height),
        "aspect": max(width, height) / min(width, height),
        "contrast": grey.std(),
        "brightness": np.percentile(grey, 95),
        "white": np.mean(grey >= WHITE),
        "focus": ndimage.laplace(grey)[1:-1, 1:-1].std() / max(1.0, float(grey.std())),
        "chroma": np.percentile(chroma, 99),
        "red_green": np.mean(rgb[..., 0] - rgb[..., 1]),
        "yellow_blue": np.mean((rgb[..., 0] + rgb[..., 1]) / 2 - rgb[..., 2]),
        "tint": np.median(chroma),
        "vivid": np.mean(untinted > VIVID),
    }
    if task.crop_to_roi:
        crosses, letters = marks(field)
        measured |= {"crosses": crosses, "letters": letters, "seam": seam(grey)}
    return {name: float(value) for name, value in measured.items()}


def seam(grey: np.ndarray) -> float:
    """The highest step between two neighbouring columns of the middle fifth: the median over the rows of a field, grey
    (H, W). Speckle gives a few levels; an edge from top to bottom, as between two fields, gives tens."""
    width = grey.shape[1]
    middle = grey[:, round(0.4 * width) : round(0.6 * width) + 1]
    return float(np.median(np.abs(np.diff(middle, axis=1)), axis=0).max())


def marks(field: Image.Image) -> tuple[int, int]:
    """(crosses as callipers leave them, letters in the longest line of text) in a scanned field.

    Both are thin lines far brighter than the tissue around them (white top-hat); a cross stands alone and is about as
    wide as high, letters stand side by side at one height.
    """
    small = field.convert("L")
    small.thumbnail((MARKS_SIDE, MARKS_SIDE), Image.Resampling.BICUBIC)
    grey = np.asarray(small).astype(np.int16)
    lines = (grey - ndimage.grey_opening(grey, size=(5, 5)) > MARK_TOP_HAT) & (grey > MARK_BRIGHTNESS)
    patches, _ = ndimage.label(lines, structure=np.ones((3, 3)))
    pieces = []
    for number, found_at in enumerate(ndimage.find_objects(patches), start=1):
        rows, columns = found_at
        high, wide = rows.stop - rows.start, columns.stop - columns.start
        if 4 <= high <= 24 and 2 <= wide <= 24:
            pieces.append((rows, columns, _is_cross(patches[found_at] == number)))
    boxes = [(rows, columns) for rows, columns, _ in pieces]
    crosses = sum(cross and _alone(i, boxes) for i, (_, _, cross) in enumerate(pieces))
    return crosses, _longest_line(boxes)


def _is_cross(patch: np.ndarray) -> bool:
    """Whether a patch (h, w), bool, is a + or an x: about as wide as high, thin, and the same turned by half."""
    high, wide = patch.shape
    if min(high, wide) < 5 or max(high, wide) > 1.5 * min(high, wide) or patch.mean() > 0.6:
        return False
    middle = patch[high // 2 - 1 : high // 2 + 2, wide // 2 - 1 : wide // 2 + 2]
    turned = patch[::-1, ::-1]
    return bool(middle.mean() > 0.5) and bool((patch & turned).sum() > 0.6 * patch.sum())


def _alone(i: int, boxes: Sequence[tuple[slice, slice]]) -> bool:
    """Whether no other box (rows, columns) comes nearer to the box `i` than that is high: a letter has neighbours."""
    rows, columns = boxes[i]
    around = rows.stop - rows.start
    return not any(
        j != i
        and other_rows.start < rows.stop + around
        and rows.start < other_rows.stop + around
        and other_columns.start < columns.stop + around
        and columns.start < other_columns.stop + around
        for j, (other_rows, other_columns) in enumerate(boxes)
    )


def _longest_line(boxes: Sequence[tuple[slice, slice]]) -> int:
    """The most boxes (rows, columns) that stand side by side at one height; 0 for fewer than three."""
    order = sorted(boxes, key=lambda box: box[1].start)
    best = 0
    for first in range(len(order)):
        length, (last_rows, last_columns) = 1, order[first]
        for rows, columns in order[first + 1 :]:
            high = max(rows.stop - rows.start, last_rows.stop - last_rows.start)
            level = abs(rows.stop - last_rows.stop) <= 3
            if level and 0 <= columns.start - last_columns.stop <= 1.5 * high:
                length, last_rows, last_columns = length + 1, rows, columns
        best = max(best, length)
    return best if best >= 3 else 0
