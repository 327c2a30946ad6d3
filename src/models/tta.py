"""The mirror images and quarter turns of a square over which test-time augmentation averages.

Each can be undone, so that what the network saw in a view is known of the picture as it lies.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor


class Symmetry(NamedTuple):
    """`mirrored` left to right or not, then turned by so many quarter `turns` to the left."""

    mirrored: bool
    turns: int

    def of(self, x: Tensor) -> Tensor:
        """The view of (N, C, side, side), of that shape."""
        return (x.flip(3) if self.mirrored else x).rot90(self.turns, (2, 3))

    def undone(self, x: Tensor) -> Tensor:
        """What `of` was given, of its answer."""
        upright = x.rot90(-self.turns, (2, 3))
        return upright.flip(3) if self.mirrored else upright


AS_IT_IS = Symmetry(mirrored=False, turns=0)

SYMMETRIES: Mapping[str, tuple[Symmetry, ...]] = MappingProxyType(
    {
        "none": (AS_IT_IS,),
        "flips": tuple(Symmetry(mirrored, turns) for mirrored, turns in ((False, 0), (True, 0), (True, 2), (False, 2))),
        "d4": tuple(Symmetry(mirrored, turns) for turns in range(4) for mirrored in (False, True)),
    }
)
"""By a checkpoint's `test_time_augmentation`; the picture as it is comes first."""
