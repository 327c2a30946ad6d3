"""The device of the networks: the CPU, a GPU, or the GPU that a ZeroGPU Space lends for the duration of a call.

This module imports `spaces`, which must happen before anything uses CUDA. Every Gradio Space has that package. Without
it, or on hardware other than ZeroGPU, a call runs as it is.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from src import outgoing

try:
    import spaces
except ImportError:
    spaces = None

P = ParamSpec("P")
R = TypeVar("R")

SECONDS = 15
"""How long a call may use a lent GPU. It is charged to the visitor's quota; our calls take less than a second."""


def name() -> str:
    """The name of the device in torch: "cuda" or "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def lent(call: Callable[P, R]) -> Callable[P, R]:
    """`call`, which borrows a GPU while it runs if this is a ZeroGPU Space. Arguments and result are pickled then."""
    if spaces is None:
        return call
    borrowing = spaces.GPU(call, duration=SECONDS)

    @wraps(call)
    def borrowed(*args: P.args, **kwargs: P.kwargs) -> R:
        with outgoing.permitted():  # borrowing asks the Space's own service
            return borrowing(*args, **kwargs)

    return borrowed
