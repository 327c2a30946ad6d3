"""The interface of a forward pass, which each engine implements."""

from typing import Literal, Protocol

from torch import Tensor

Precision = Literal["float32", "bfloat16"]
"""The precision of the arithmetic. bfloat16 is faster on processors that have it, and less exact."""


class Forward(Protocol):
    """A forward pass without gradients: normalised pixels, float32 (N, C, side, side) -> the module's outputs.

    The outputs are on the module's device. Concurrent calls are safe.
    """

    def __call__(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The outputs, each with N as its first dimension."""
        ...
