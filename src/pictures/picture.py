"""A decoded picture, and the refusal of a file that cannot be decoded."""

from dataclasses import dataclass, replace
from statistics import median

from PIL import Image

Box = tuple[int, int, int, int]
"""left, upper, right, lower in pixels; right and lower exclusive."""


Shares = tuple[float, float, float, float]
"""left, upper, right, lower, each 0 to 1, in shares of a picture's width and height."""


class ImageRefused(ValueError):  # noqa: N818 - a refusal is an answer, not an error of ours
    """The file cannot be used; `str()` is one sentence for the person who gave it."""


@dataclass(frozen=True)
class CineFrames:
    """The frames of a cine that were read, and p(malignant) of each.

    `count`: the number of frames that the file holds. `read`: the indexes of those that were read, counted from 0.
    `p_malignant`: one value for each of these, 0 to 1. `chosen`: the index of the frame that stands for the cine:
    the one with the highest p(malignant), among those that the gate accepts if there are any.
    """

    count: int
    read: tuple[int, ...]
    p_malignant: tuple[float, ...]
    chosen: int

    @property
    def median(self) -> float:
        """The median p(malignant) of the frames that were read."""
        return median(self.p_malignant)


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    `image`: mode RGB, 8 bit, upright, the first frame. `notes`: what reading it changed, one sentence each. `mpp`: the
    micrometres per pixel of `image`, None where they are not known. `reduction`: how many pixels of the file make one
    of `image`, in width and height. `spacing`: the width and the height of a pixel in millimetres, None where they are
    not known; slides have `mpp` instead. `cine`: the frames that were read of the cine of which `image` is one.
    """

    image: Image.Image
    notes: tuple[str, ...]
    mpp: float | None = None
    reduction: int = 1
    spacing: tuple[float, float] | None = None
    cine: CineFrames | None = None

    def at(self, mpp: float | None) -> "Picture":
        """The picture with `mpp` micrometres per pixel of its file, whatever the file says; None changes nothing."""
        return self if mpp is None else replace(self, mpp=mpp * self.reduction)
