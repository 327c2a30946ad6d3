"""OpenVINO as the engine of a forward pass: a PyTorch module -> a model that OpenVINO compiled for this processor.

The module is converted in memory, from the weights that were verified. A pickled `OpenVINOForward` carries the compiled
model, so that the worker processes neither convert nor optimise it again. Nothing is written to the disk. Importing
this module raises ImportError where OpenVINO is not installed.
"""

import math
import sys
import threading
import warnings
from collections import deque
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

# OpenVINO's import sends usage statistics to Google Analytics through this package. If the package is missing, the
# import works without it.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402 - after the line above
from openvino.frontend import FrontEndManager  # noqa: E402
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: E402

from src.models.forward import Precision  # noqa: E402

DEVICE: Final = "CPU"
HINTS: Final[dict[Precision, str]] = {"float32": "f32", "bfloat16": "bf16"}
PIECE: Final = 4
"""The most images that one thread takes at once. More do not fit the processor's caches: two threads that take four
images each are a third faster than two threads that share thirty-two."""
QUEUED: Final = 2
"""The requests of each thread, so that it begins the next one while the outputs of the last are copied."""
_converting = threading.Lock()
_core: Final = openvino.Core()
"""The only Core of the process, for its whole life. Each Core gives the thread that first uses it a signal stack, and
takes the stack back when it ends. If two Cores end in the wrong order, the thread is left with a freed stack, and the
next signal kills the process."""


class WithoutWeights(ValueError):  # noqa: N818 - a reason, as ImageRefused
    """The module multiplies nothing by weights. OpenVINO would not run it faster, and cannot import such a model
    again."""


class OpenVINOForward:
    """A forward pass by OpenVINO on the CPU, in as many threads as torch uses when the object is made or unpickled.

    Each thread takes other images of a batch, so a batch of one image uses one thread.

    `module`: in eval mode, with its weights, none of which needs a gradient. It is not kept. `input_size`: channels,
    height and width of its input. `precision`: that of the arithmetic. It is set explicitly, because OpenVINO's default
    depends on the processor. Raises RuntimeError where OpenVINO does not know the processor or cannot convert the
    module, and WithoutWeights.
    """

    def __init__(self, module: nn.Module, input_size: tuple[int, int, int], precision: Precision = "float32") -> None:
        self._precision = precision
        model = converted(module, torch.zeros(1, *input_size))
        if not any(_is_weight(node) for node in model.get_ops()):
            raise WithoutWeights
        self._compiled = _core.compile_model(model, DEVICE, self._settings())
        self._prepare()

    def __call__(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The outputs, as `forward.Forward` describes them. `pixels` are on the CPU."""
        # Requests serve one call at a time. The deque's operations are atomic.
        try:
            requests = self._idle.pop()
        except IndexError:
            requests = [self._compiled.create_infer_request() for _ in range(QUEUED * self._threads)]
        pieces = pixels.contiguous().split(min(PIECE, math.ceil(len(pixels) / self._threads)))
        outputs: list[tuple[Tensor, ...]] = []
        for number, piece in enumerate(pieces):
            request = requests[number % len(requests)]
            if number >= len(requests):
                outputs.append(_outputs(request))
            request.start_async([piece.numpy()])
        for number in range(len(outputs), len(pieces)):
            outputs.append(_outputs(requests[number % len(requests)]))
        # Requests of which one raised an error are not used again.
        self._idle.append(requests)
        return tuple(map(torch.cat, zip(*outputs, strict=True)))

    def __getstate__(self) -> dict[str, Any]:
        # An array, so that processes can share its memory.
        exported = np.frombuffer(self._compiled.export_model().getbuffer(), np.uint8)
        return {"precision": self._precision, "exported": exported}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._precision = state["precision"]
        # The weights stay in this memory, which is kept because the compiled model refers to it.
        self._exported = state["exported"]
        exported = openvino.Tensor(self._exported, shared_memory=True)
        self._compiled = _core.import_model(exported, DEVICE, self._settings())
        self._prepare()

    def _prepare(self) -> None:
        self._threads: int = self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._idle: deque[list[openvino.InferRequest]] = deque()

    def _settings(self) -> dict[str, Any]:
        return {
            "INFERENCE_PRECISION_HINT": HINTS[self._precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": torch.get_num_threads(),
            # Several processes would otherwise share the first core.
            "ENABLE_CPU_PINNING": False,
        }


def _outputs(request: openvino.InferRequest) -> tuple[Tensor, ...]:
    """The outputs of a request that was started, once it has ended.

    OpenVINO could call a function when a request ends. But its thread may then still want Python's lock while Python
    ends, which aborts the process.
    """
    request.wait()
    # Copied, because the next images of this request overwrite its tensors.
    return tuple(torch.from_numpy(output.data.copy()) for output in request.output_tensors)


def _is_weight(node: openvino.Node) -> bool:
    return node.get_type_name() == "Constant" and node.get_element_type().is_real() and len(node.shape) > 1


def converted(module: nn.Module, example: Tensor) -> openvino.Model:
    """`module` as OpenVINO's model of any batch size. Its constants share the memory of the module's weights.

    `example`: an input of one image, of the type and size of all later ones. Raises RuntimeError where the module
    cannot be converted.
    """
    # Locked, because both the tracer and Python's warning filters are global.
    with _converting, torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        # OpenVINO's converter reads the graphs of torch.jit.trace, which warns that a later version of torch removes
        # it. The tracer also warns of sizes that become constants, which is harmless, because the input has one size.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        # A traced function takes a sixth of the time of a traced module.
        traced = torch.jit.trace(lambda pixels: module(pixels), (example,), check_trace=False)
        # In a variable, because the converter calls the decoder but keeps no reference to it.
        decoder = TorchScriptPythonDecoder(traced)
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    model.reshape([-1, *example.shape[1:]])
    return model
