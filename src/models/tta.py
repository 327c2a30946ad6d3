"""Test-time augmentation: the logits of an image's mirror images and quarter turns are averaged.

The images are square. Each view has an inverse, so that the map of a view can be laid over the original image.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor

from src.models.config import TestTimeAugmentation


class Symmetry(NamedTuple):
    """A view of an image: first mirrored left to right if `mirrored`, then turned left by `turns` quarter turns."""

    mirrored: bool
    turns: int

    def of(self, x: Tensor) -> Tensor:
        """The view of images or maps (N, C, side, side), in the same shape."""
        return _turned(x.flip(3) if self.mirrored else x, self.turns)

    def undone(self, x: Tensor) -> Tensor:
        """The inverse of `of`: `undone(of(x))` equals `x`."""
        upright = _turned(x, -self.turns)
        return upright.flip(3) if self.mirrored else upright


def _turned(x: Tensor, turns: int) -> Tensor:
    """The same as `x.rot90(turns, (2, 3))`, by operations that ONNX has."""
    turns %= 4
    if turns == 2:
        return x.flip((2, 3))
    return x.transpose(2, 3).flip(2 if turns == 1 else 3) if turns else x


AS_IT_IS = Symmetry(mirrored=False, turns=0)

SYMMETRIES: Mapping[TestTimeAugmentation, tuple[Symmetry, ...]] = MappingProxyType(
    {
        "none": (AS_IT_IS,),
        "flips": tuple(Symmetry(mirrored, turns) for mirrored, turns in ((False, 0), (True, 0), (True, 2), (False, 2))),
        "d4": tuple(Symmetry(mirrored, turns) for turns in range(4) for mirrored in (False, True)),
    }
)
"""The views of each kind of test-time augmentation. The first view is the unchanged image."""


def views(pixels: Tensor, kind: TestTimeAugmentation) -> list[Tensor]:
    """The views of a batch (N, C, side, side), each of the same shape. The first is the batch itself."""
    return [symmetry.of(pixels) for symmetry in SYMMETRIES[kind]]
