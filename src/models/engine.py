"""The engine that runs a network's forward pass: OpenVINO on a processor, or PyTorch.

The engine runs the two networks that need no gradients: the classifier's backbone and the lesion finder's U-Net. Heads,
heat maps and training always use PyTorch. `VIGIL_ENGINE` chooses the engine.
"""

import logging
from functools import cache

import torch
from torch import Tensor, nn

from src.models.engine_choice import VARIABLE, EngineRefused, chosen
from src.models.forward import Forward, Precision

log = logging.getLogger(__name__)


class TorchForward:
    """A forward pass by PyTorch, layer by layer."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.module, self.device = module.to(device), device

    def __call__(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The outputs, as `Forward` describes them. `pixels` may be on any device."""
        with torch.inference_mode(False), torch.no_grad():
            outputs = self.module(pixels.to(self.device))
        return outputs if isinstance(outputs, tuple) else (outputs,)


def forward_of(
    module: nn.Module, device: torch.device, input_size: tuple[int, int, int], precision: Precision = "float32"
) -> Forward:
    """The forward pass of `module` on `device`. PyTorch runs a backbone without weights, such as logistic regression's.

    `module`: in eval mode, with its weights, none of which needs a gradient. `input_size`: channels, height and width
    of the module's input. Raises EngineRefused if `VIGIL_ENGINE` names no engine, if it names OpenVINO and OpenVINO
    cannot run the module on this processor, or if `precision` is not float32 and PyTorch would have to run the module.
    """
    engine = chosen()
    if engine == "torch" or device.type != "cpu":
        return _by_torch(module, device, precision)
    try:
        # Imported here, because Vigil also works without OpenVINO.
        from src.models.openvino_engine import OpenVINOForward, WithoutWeights

        try:
            return OpenVINOForward(module, input_size, precision)
        except WithoutWeights:
            return TorchForward(module, device)
    except (ImportError, RuntimeError) as error:
        if engine == "openvino":
            raise EngineRefused(f"{VARIABLE} is openvino, and OpenVINO does not work here: {_first(error)}") from error
        _fall_back(_first(error))
        return _by_torch(module, device, precision)


def _by_torch(module: nn.Module, device: torch.device, precision: Precision) -> Forward:
    if precision != "float32":
        raise EngineRefused(f"Only OpenVINO computes in {precision}, and it does not run here.")
    return TorchForward(module, device)


@cache
def _fall_back(reason: str) -> None:
    """Log the reason why PyTorch runs a network, once per process."""
    log.warning("PyTorch runs the networks, because OpenVINO does not work here: %s", reason)


def _first(error: Exception) -> str:
    """The first line of an error's message, as one sentence."""
    return str(error).strip().partition("\n")[0].rstrip(".") + "."
