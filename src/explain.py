"""Grad-CAM and its kin on a network that keeps timm's contract (`forward_features`, `forward_head`).

Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) needs the gradient of the head alone, so it costs no second pass of
the backbone: the caller hands in the feature map it already has. Guided Grad-CAM multiplies that by guided
backpropagation (Springenberg et al. 2015, arXiv:1412.6806), which needs the whole backward pass. Knows nothing of tasks
or pictures; maps are at the network's input size. Nothing here changes the network handed in, so calls may overlap.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import timm.layers
import torch
from torch import Tensor, nn

from src.networks import Network

# ConvNeXt's is timm's own GELU, no subclass of torch's.
ACTIVATIONS = (nn.ReLU, nn.GELU, nn.SiLU, timm.layers.GELU)

Target = Callable[[Tensor], Tensor]
"""From the logits of one picture, shape (classes,), to the number that the map argues for, a scalar."""


class _Head(nn.Module):
    """The network after its last feature map, as a network of its own for pytorch-grad-cam to hook."""

    network: Network

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.map = nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        return self.network.forward_head(self.map(features))


def grad_cam(network: Network, features: Tensor, target: Target, side: int) -> np.ndarray:
    """Grad-CAM from a feature map that the backbone has already made.

    `features`: float32 (1, C, h, w), detached. Returns float32 (side, side) in 0..1; all zero where nothing in the map
    argues for the target.
    """
    # Imported here: pytorch-grad-cam loads scikit-learn, which the app does without until a map is asked for.
    from pytorch_grad_cam import GradCAM, HiResCAM
    from pytorch_grad_cam.utils.image import scale_cam_image

    head = _Head(network)
    # A network whose map is its input has one channel and no pooled features: the mean gradient of Grad-CAM says
    # nothing there, the elementwise product of HiResCAM (Draelos & Carin 2020, arXiv:2011.08891) is exact.
    method = HiResCAM if features.shape[1] == 1 else GradCAM
    with torch.enable_grad(), method(model=head, target_layers=[head.map]) as cam:
        small = cam(input_tensor=features.clone().requires_grad_(), targets=[target])
    if not np.isfinite(small).all() or small.max() <= 0:
        return np.zeros((side, side), dtype=np.float32)
    # As the library does for a map of the usual way: scaled up, then stretched to 0..1 again.
    return scale_cam_image(scale_cam_image(small, (side, side)))[0]


class _GuidedActivation(torch.autograd.Function):
    """An activation whose backward lets only positive gradients of positive inputs pass.

    For ReLU that is guided backpropagation as published; for smooth activations (GELU, SiLU) the same two masks are
    laid over their true derivative.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: nn.Module) -> Tensor:
        ctx.save_for_backward(x)
        ctx.activation = activation
        # A clone here and below, because activations may work in place and what was handed in must stay.
        return activation(x.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        with torch.enable_grad():
            x = ctx.saved_tensors[0].detach().requires_grad_()
            y = ctx.activation(x.clone())
        (derived,) = torch.autograd.grad(y, x, gradients[0].clamp(min=0))
        return derived * (x > 0), None


class _Guided(nn.Module):
    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return _GuidedActivation.apply(x, self.activation)


def guided_network(network: nn.Module) -> nn.Module:
    """A copy of `network` that computes the same and backpropagates guided; made once, used for any number of maps."""
    guided = copy.deepcopy(network)
    for parent in list(guided.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ACTIVATIONS):
                setattr(parent, name, _Guided(child))
    return guided


def guided_grad_cam(guided: nn.Module, pixels: Tensor, target: Target, cam: np.ndarray) -> np.ndarray:
    """Guided Grad-CAM: guided backpropagation to the pixels, weighed by the Grad-CAM map.

    `guided` from `guided_network`, `pixels` float32 (1, C, side, side), `cam` float32 (side, side) from `grad_cam`.
    Returns float32 (side, side) in 0..1, the strength over the channels.
    """
    pixels = pixels.detach().clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(target(guided(pixels)[0]), pixels)
    fine = gradient[0].abs().amax(dim=0).cpu().numpy() * cam
    # A few pixels carry most of the gradient; the 99.5th percentile keeps the rest visible.
    top = np.percentile(fine, 99.5)
    return np.clip(fine / top, 0, 1).astype(np.float32) if top > 0 else np.zeros_like(cam)
