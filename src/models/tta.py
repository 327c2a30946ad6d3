"""Test-time augmentation: the mirror images and quarter turns of a square image whose logits are averaged.

Each view can be undone, so that a map of a view can be laid over the image as it is.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from torch import Tensor

TestTimeAugmentation = Literal["none", "flips", "d4"]
"""Which views are averaged: the image alone; its mirror images in both directions (4); those and its quarter turns (8).
"""


class Symmetry(NamedTuple):
    """A view: `mirrored` left to right or not, then turned to the left by so many quarter `turns`."""

    mirrored: bool
    turns: int

    def of(self, x: Tensor) -> Tensor:
        """The view of images or maps (N, C, side, side), of the same shape."""
        return (x.flip(3) if self.mirrored else x).rot90(self.turns, (2, 3))

    def undone(self, x: Tensor) -> Tensor:
        """The inverse of `of`: `undone(of(x))` is `x`."""
        upright = x.rot90(-self.turns, (2, 3))
        return upright.flip(3) if self.mirrored else upright


AS_IT_IS = Symmetry(mirrored=False, turns=0)

SYMMETRIES: Mapping[TestTimeAugmentation, tuple[Symmetry, ...]] = MappingProxyType(
    {
        "none": (AS_IT_IS,),
        "flips": tuple(Symmetry(mirrored, turns) for mirrored, turns in ((False, 0), (True, 0), (True, 2), (False, 2))),
        "d4": tuple(Symmetry(mirrored, turns) for turns in range(4) for mirrored in (False, True)),
    }
)
"""The views of each kind of test-time augmentation; the image as it is comes first."""


def views(pixels: Tensor, kind: TestTimeAugmentation) -> list[Tensor]:
    """The views of a batch (N, C, side, side), each of that shape; the first is the batch itself."""
    return [symmetry.of(pixels) for symmetry in SYMMETRIES[kind]]
