"""Grad-CAM and Guided Grad-CAM for a network with timm's interface (`forward_features`, `forward_head`).

Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) needs only the gradient of the head. It takes the feature map that
the caller already has, so it costs no second pass of the backbone. Guided Grad-CAM multiplies the map by guided
backpropagation (Springenberg et al. 2015, arXiv:1412.6806), which needs the whole backward pass. With test-time
augmentation, both explain the mean logits over the views. Maps have the size of the network's input. This module knows
nothing of tasks and files. It does not change the network, so calls may overlap.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from src.models.networks import Network
from src.models.tta import AS_IT_IS, Symmetry

GUIDED: frozenset[Any] = frozenset({F.relu, torch.relu, Tensor.relu, F.gelu, F.silu})
"""The activations with guided backpropagation, as functions. The modules of torch and timm call these functions."""

# Other activations, and those that work in place. Without an error, a map would be only partly guided, unnoticed.
REFUSED: frozenset[Any] = frozenset(
    {
        *(F.celu, F.elu, F.elu_, F.hardswish, F.hardtanh, F.hardtanh_, F.leaky_relu, F.leaky_relu_, F.mish, F.prelu),
        *(F.relu6, F.relu_, F.rrelu, F.rrelu_, F.selu, F.selu_, F.softplus, F.threshold, torch.threshold_),
        *(Tensor.prelu, Tensor.relu_, torch.celu, torch.prelu, torch.relu_, torch.rrelu, torch.selu, torch.threshold),
    }
)

Target = Callable[[Tensor], Tensor]
"""Maps the logits of one image, (classes,), to the scalar that the map explains."""


class _Head(nn.Module):
    """The part of the network after its last feature map, as a network that pytorch-grad-cam can hook.

    Its input are the feature maps of all views, each turned back to the original orientation and stacked as channels.
    One Grad-CAM over this stack explains the mean logits.
    """

    def __init__(self, network: Network, symmetries: Sequence[Symmetry]) -> None:
        super().__init__()
        # Of the network, only the classifier is registered, from which the library takes the device. The library visits
        # every registered layer and parameter, which for a whole network takes half as long as the heat map.
        self.classifier = network.get_classifier()
        self.forward_head = network.forward_head
        self.symmetries = symmetries
        self.map = nn.Identity()

    def forward(self, upright: Tensor) -> Tensor:
        maps = self.map(upright).chunk(len(self.symmetries), dim=1)
        views = torch.cat([symmetry.of(one) for symmetry, one in zip(self.symmetries, maps, strict=True)])
        return self.forward_head(views).mean(dim=0, keepdim=True)


def grad_cam(
    network: Network, features: Tensor, target: Target, side: int, symmetries: Sequence[Symmetry] = (AS_IT_IS,)
) -> np.ndarray:
    """Grad-CAM from feature maps that the backbone has already computed.

    `features`: float32 (views, C, h, w), detached, one map per symmetry. `target`: the scalar to explain, from the mean
    logits. `side`: the side of the returned map in pixels. Returns float32 (side, side), 0 to 1, in the orientation of
    the original image. It is 0 everywhere if nothing in the feature maps is evidence for the target.
    """
    # Imported here, because pytorch-grad-cam loads scikit-learn, which the app needs for no other purpose.
    from pytorch_grad_cam import GradCAM, HiResCAM
    from pytorch_grad_cam.utils.image import scale_cam_image

    head = _Head(network, symmetries)
    # If a network's feature map is its input, it has one channel and no pooling. Grad-CAM's mean gradient means
    # nothing there, but the elementwise product of HiResCAM (Draelos & Carin 2020, arXiv:2011.08891) is exact.
    method = HiResCAM if features.shape[1] == 1 else GradCAM
    upright = torch.cat([symmetry.undone(one) for symmetry, one in zip(symmetries, features.split(1), strict=True)], 1)
    with torch.enable_grad(), method(model=head, target_layers=[head.map]) as cam:
        small = cam(input_tensor=upright.clone().requires_grad_(), targets=[target])
    if not np.isfinite(small).all() or small.max() <= 0:
        return np.zeros((side, side), dtype=np.float32)
    # The library does the same with a map: it scales the map up and then stretches it to 0..1 again.
    return scale_cam_image(scale_cam_image(small, (side, side)))[0]


class _GuidedActivation(torch.autograd.Function):
    """An activation whose backward pass keeps only positive gradients of positive inputs.

    For ReLU this is guided backpropagation as published. For smooth activations (GELU, SiLU) the same two masks are
    applied to the true derivative.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.activation = activation
        # Cloned here and below, because an activation may work in place and must not change its input.
        return activation(x.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        with torch.enable_grad():
            x = ctx.saved_tensors[0].detach().requires_grad_()
            y = ctx.activation(x.clone())
        (derived,) = torch.autograd.grad(y, x, gradients[0].clamp(min=0))
        return derived * (x > 0), None


class GuidedBackpropagation(TorchFunctionMode):
    """A context in which the networks of this thread use guided backpropagation. Their outputs stay the same.

    It replaces the functions of GUIDED, so it covers both modules and activations called inside a block. `met` counts
    the replaced calls. Raises NotImplementedError at an activation of REFUSED.
    """

    def __init__(self) -> None:
        super().__init__()
        self.met = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in REFUSED:
            raise NotImplementedError(f"guided backpropagation does not support {getattr(func, '__name__', func)}")
        if func not in GUIDED:
            return func(*args, **(kwargs or {}))
        self.met += 1
        named = dict(kwargs or {})
        x = args[0] if args else named.pop("input")
        return _GuidedActivation.apply(x, lambda value: func(value, *args[1:], **named))


def guided_grad_cam(
    network: nn.Module, pixels: Tensor, target: Target, cam: np.ndarray, symmetries: Sequence[Symmetry] = (AS_IT_IS,)
) -> np.ndarray:
    """Guided Grad-CAM: guided backpropagation to the pixels, weighted by the Grad-CAM map.

    `pixels`: float32 (1, C, side, side). `cam`: the map from `grad_cam`, float32 (side, side). `target` and
    `symmetries`: as for `grad_cam`. Returns float32 (side, side), 0 to 1, the maximum over the channels. Raises
    NotImplementedError for a network with an activation of REFUSED.
    """
    fine = guided_gradient(network, pixels, target, symmetries)[0].abs().amax(dim=0).cpu().numpy() * cam
    # A few pixels have most of the gradient. Scaling by the 99.5th percentile keeps the others visible.
    top = np.percentile(fine, 99.5)
    return np.clip(fine / top, 0, 1).astype(np.float32) if top > 0 else np.zeros_like(cam)


def guided_gradient(
    network: nn.Module, pixels: Tensor, target: Target, symmetries: Sequence[Symmetry] = (AS_IT_IS,)
) -> Tensor:
    """The gradient of `target` at `pixels` by guided backpropagation, float32 (1, C, side, side).

    Raises NotImplementedError for a network with an activation of REFUSED.
    """
    pixels = pixels.detach().clone().requires_grad_()
    with torch.enable_grad():
        views = torch.cat([symmetry.of(pixels) for symmetry in symmetries])
        with GuidedBackpropagation():
            logits = network(views)
        (gradient,) = torch.autograd.grad(target(logits.mean(dim=0)), pixels)
    return gradient
