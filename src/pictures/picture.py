"""A decoded picture, and the refusal of a file that cannot be decoded."""

from dataclasses import dataclass, replace

from PIL import Image

Box = tuple[int, int, int, int]
"""left, upper, right, lower in pixels; right and lower exclusive."""


Shares = tuple[float, float, float, float]
"""left, upper, right, lower, each 0 to 1, in shares of a picture's width and height."""


class ImageRefused(ValueError):  # noqa: N818 - a refusal is an answer, not an error of ours
    """The file cannot be used; `str()` is one sentence for the person who gave it."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    `image`: mode RGB, 8 bit, upright, the first frame. `notes`: what reading it changed, one sentence each. `mpp`: the
    micrometres per pixel of `image`, None where they are not known. `reduction`: how many pixels of the file make one
    of `image`, in width and height.
    """

    image: Image.Image
    notes: tuple[str, ...]
    mpp: float | None = None
    reduction: int = 1

    def at(self, mpp: float | None) -> "Picture":
        """The picture with `mpp` micrometres per pixel of its file, whatever the file says; None changes nothing."""
        return self if mpp is None else replace(self, mpp=mpp * self.reduction)
