"""Where a network's forward pass runs. One interface, so that another engine can stand in for PyTorch.

The predictor hands over the networks without gradients: the classifier's backbone and the lesion finder's U-Net. Heads,
heat maps and training need PyTorch itself and stay with it.
"""

from typing import Protocol

import torch
from torch import Tensor, nn


class Forward(Protocol):
    """A forward pass: pixels float32 (N, C, side, side) -> the module's outputs, without gradients, on its device."""

    def __call__(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The outputs, each with N as its first dimension."""
        ...


class TorchForward:
    """A module run by PyTorch, layer by layer."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.module, self.device = module.to(device), device

    def __call__(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """As `Forward`; `pixels` may lie on any device."""
        with torch.inference_mode(False), torch.no_grad():
            outputs = self.module(pixels.to(self.device))
        return outputs if isinstance(outputs, tuple) else (outputs,)


def forward_of(module: nn.Module, device: torch.device) -> Forward:
    """The forward pass of `module`, which is in eval mode and has its weights, on `device`."""
    return TorchForward(module, device)
