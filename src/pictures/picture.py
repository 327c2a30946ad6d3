"""A decoded picture, and the refusal of a file that cannot be decoded."""

from dataclasses import dataclass

from PIL import Image

Box = tuple[int, int, int, int]
"""left, upper, right, lower in pixels; right and lower exclusive."""


class ImageRefused(ValueError):  # noqa: N818 - a refusal is an answer, not an error of ours
    """The file cannot be used; `str()` is one sentence for the person who gave it."""


@dataclass(frozen=True)
class Picture:
    """`image`: mode RGB, 8 bit, upright, the first frame. `notes`: what reading it changed, one sentence each."""

    image: Image.Image
    notes: tuple[str, ...]
