"""Where the networks run: on the CPU, on a GPU, or on a ZeroGPU Space, which lends a GPU for the length of a call.

Imported before anything touches CUDA: `spaces` has to come first there. Every Gradio Space brings that package; where
it is not installed, or the hardware is no ZeroGPU, nothing changes.
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
"""What a call may take on a lent GPU; visitors' quotas are charged by it, and ours take less than one."""


def name() -> str:
    """The device as torch names it."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def lent(call: Callable[P, R]) -> Callable[P, R]:
    """`call`, with a GPU while it runs where one has to be borrowed: arguments and result are pickled then."""
    if spaces is None:
        return call
    borrowing = spaces.GPU(call, duration=SECONDS)

    @wraps(call)
    def borrowed(*args: P.args, **kwargs: P.kwargs) -> R:
        with outgoing.permitted():  # to ask the Space's own service for the GPU
            return borrowing(*args, **kwargs)

    return borrowed
