"""The engine that runs a network's forward pass. Any other engine with the same interface can replace PyTorch.

The engine runs the two networks that need no gradients: the classifier's backbone and the lesion finder's U-Net. Heads,
heat maps and training always use PyTorch.
"""

from typing import Protocol

import torch
from torch import Tensor, nn


class Forward(Protocol):
    """A forward pass without gradients: normalised pixels, float32 (N, C, side, side) -> the module's outputs.

    The outputs are on the module's device.
    """

    def __call__(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The outputs, each with N as its first dimension."""
        ...


class TorchForward:
    """A forward pass by PyTorch, layer by layer."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.module, self.device = module.to(device), device

    def __call__(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The outputs, as `Forward` describes them. `pixels` may be on any device."""
        with torch.inference_mode(False), torch.no_grad():
            outputs = self.module(pixels.to(self.device))
        return outputs if isinstance(outputs, tuple) else (outputs,)


def forward_of(module: nn.Module, device: torch.device) -> Forward:
    """The forward pass of `module`, which is in eval mode and has its weights, on `device`."""
    return TorchForward(module, device)
