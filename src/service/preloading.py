"""The process that has loaded all code, from which the worker processes are forked.

This module imports nothing that takes long, so that this process can load code while the app loads its own.
"""

import multiprocessing
from multiprocessing import forkserver
from typing import Final

MODULES: Final = (
    "src.models.checkpoints",
    "src.models.predictor",
    "src.service.worker_pool",
    "src.service.read_picture",
    "src.service.batch",
    "src.service.read_slide",
    "src.service.clinic_table",
    "pytorch_grad_cam",
    "matplotlib.colors",
)
"""The modules that are loaded before the processes are forked, those of the first heat map included."""


def forks() -> bool:
    """Whether this system can fork processes. Windows cannot."""
    return "forkserver" in multiprocessing.get_all_start_methods()


def begin() -> None:
    """Begin to load MODULES in the process from which others are forked, unless it runs; returns at once."""
    if forks():
        multiprocessing.set_forkserver_preload(list(MODULES))
        forkserver.ensure_running()
