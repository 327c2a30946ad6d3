"""Grad-CAM and its kin on a network that keeps timm's contract (`forward_features`, `forward_head`).

Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) needs the gradient of the head alone, so it costs no second pass of
the backbone: the caller hands in the feature map it already has. Guided Grad-CAM multiplies that by guided
backpropagation (Springenberg et al. 2015, arXiv:1412.6806), which needs the whole backward pass. Where logits are
averaged over views of the picture, that average is what is explained. Knows nothing of tasks or pictures; maps are at
the network's input size. Nothing here changes the network handed in, so calls may overlap.
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
"""The activations that backpropagate guided, as functions: their modules, torch's and timm's, call these."""

# Of what else bends like a ReLU, and of what works in place, a map would be half guided and say so nowhere.
REFUSED: frozenset[Any] = frozenset(
    {
        *(F.celu, F.elu, F.elu_, F.hardswish, F.hardtanh, F.hardtanh_, F.leaky_relu, F.leaky_relu_, F.mish, F.prelu),
        *(F.relu6, F.relu_, F.rrelu, F.rrelu_, F.selu, F.selu_, F.softplus, F.threshold, torch.threshold_),
        *(Tensor.prelu, Tensor.relu_, torch.celu, torch.prelu, torch.relu_, torch.rrelu, torch.selu, torch.threshold),
    }
)

Target = Callable[[Tensor], Tensor]
"""From the logits of one picture, shape (classes,), to the number that the map argues for, a scalar."""


class _Head(nn.Module):
    """The network after its last feature map, as a network of its own for pytorch-grad-cam to hook.

    It takes the maps of all views, turned back and laid on one another as channels, so that one Grad-CAM over them all
    is that of the averaged logits.
    """

    network: Network

    def __init__(self, network: Network, symmetries: Sequence[Symmetry]) -> None:
        super().__init__()
        self.network = network
        self.symmetries = symmetries
        self.map = nn.Identity()

    def forward(self, upright: Tensor) -> Tensor:
        maps = self.map(upright).chunk(len(self.symmetries), dim=1)
        seen = torch.cat([symmetry.of(one) for symmetry, one in zip(self.symmetries, maps, strict=True)])
        return self.network.forward_head(seen).mean(dim=0, keepdim=True)


def grad_cam(
    network: Network, features: Tensor, target: Target, side: int, symmetries: Sequence[Symmetry] = (AS_IT_IS,)
) -> np.ndarray:
    """Grad-CAM from the feature maps that the backbone has already made.

    `features`: float32 (views, C, h, w), detached, of the views that `symmetries` make of the picture; `target` is of
    their mean logits. Returns float32 (side, side) in 0..1, of the picture as it lies; all zero where nothing in the
    maps argues for the target.
    """
    # Imported here: pytorch-grad-cam loads scikit-learn, which the app does without until a map is asked for.
    from pytorch_grad_cam import GradCAM, HiResCAM
    from pytorch_grad_cam.utils.image import scale_cam_image

    head = _Head(network, symmetries)
    # A network whose map is its input has one channel and no pooled features: the mean gradient of Grad-CAM says
    # nothing there, the elementwise product of HiResCAM (Draelos & Carin 2020, arXiv:2011.08891) is exact.
    method = HiResCAM if features.shape[1] == 1 else GradCAM
    upright = torch.cat([symmetry.undone(one) for symmetry, one in zip(symmetries, features.split(1), strict=True)], 1)
    with torch.enable_grad(), method(model=head, target_layers=[head.map]) as cam:
        small = cam(input_tensor=upright.clone().requires_grad_(), targets=[target])
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
    def forward(ctx: Any, x: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
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


class GuidedBackpropagation(TorchFunctionMode):
    """While it is entered, this thread's networks compute the same and will backpropagate guided.

    It acts on the functions of GUIDED, so that an activation is met whether it is a module or called within a block.
    `met` counts them. Raises NotImplementedError at an activation of REFUSED.
    """

    def __init__(self) -> None:
        super().__init__()
        self.met = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in REFUSED:
            raise NotImplementedError(f"guided backpropagation knows no {getattr(func, '__name__', func)}")
        if func not in GUIDED:
            return func(*args, **(kwargs or {}))
        self.met += 1
        named = dict(kwargs or {})
        x = args[0] if args else named.pop("input")
        return _GuidedActivation.apply(x, lambda value: func(value, *args[1:], **named))


def guided_grad_cam(
    network: nn.Module, pixels: Tensor, target: Target, cam: np.ndarray, symmetries: Sequence[Symmetry] = (AS_IT_IS,)
) -> np.ndarray:
    """Guided Grad-CAM: guided backpropagation to the pixels, weighed by the Grad-CAM map.

    `pixels` float32 (1, C, side, side), `cam` float32 (side, side) from `grad_cam`, `target` and `symmetries` as there.
    Returns float32 (side, side) in 0..1, the strength over the channels.
    """
    fine = guided_gradient(network, pixels, target, symmetries)[0].abs().amax(dim=0).cpu().numpy() * cam
    # A few pixels carry most of the gradient; the 99.5th percentile keeps the rest visible.
    top = np.percentile(fine, 99.5)
    return np.clip(fine / top, 0, 1).astype(np.float32) if top > 0 else np.zeros_like(cam)


def guided_gradient(
    network: nn.Module, pixels: Tensor, target: Target, symmetries: Sequence[Symmetry] = (AS_IT_IS,)
) -> Tensor:
    """What guided backpropagation makes of the gradient of `target` at `pixels`, of their shape (1, C, side, side)."""
    pixels = pixels.detach().clone().requires_grad_()
    with torch.enable_grad():
        seen = torch.cat([symmetry.of(pixels) for symmetry in symmetries])
        with GuidedBackpropagation():
            logits = network(seen)
        (gradient,) = torch.autograd.grad(target(logits.mean(dim=0)), pixels)
    return gradient
