"""Functions that tests run in a worker process. This module is quick to import, because each process imports it."""

import contextlib
import gc
import io
import os
import pickle
import signal
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from src.models.engine_choice import EngineRefused
from src.pictures import decode
from src.pictures.picture import ImageRefused
from src.service.model_loading import Models

NO_ENGINE = "There is no engine here."


def refuses_to_load() -> Models:
    """Raises EngineRefused instead of loading models."""
    raise EngineRefused(NO_ENGINE)


def says_that_there_is_a_gpu(connection: Connection, _load: object, _parent: int) -> None:
    """Sends what the process that loads the models sends on a GPU."""
    connection.send_bytes(pickle.dumps((True, None)))


def ends_while_it_loads() -> Models:
    """Ends the process instead of loading models."""
    os._exit(3)


def probabilities(models: Models, name: str, file: str) -> tuple[float, ...]:
    """The probabilities that the model `name` gives for an image."""
    return models[name].predict(file).probabilities


def process(_models: Models, seconds: float = 0, started: Path | None = None) -> int:
    """Sleep, and return the id of the process. The file `started` is written before the sleep."""
    if started is not None:
        started.write_text(str(os.getpid()))
    time.sleep(seconds)
    return os.getpid()


def notes(_models: Models, file: str) -> tuple[str, ...]:
    """The notes on the decoding of an image."""
    return decode.read(file, "black").notes


def warned(_models: Models, text: str) -> str:
    """Warn as a library does, and return what stands on standard error after that."""
    with contextlib.redirect_stderr(io.StringIO()) as written:
        warnings.warn(text, stacklevel=1)
    return written.getvalue()


def busy(_models: Models, started: Path) -> None:
    """Never ends. Writes the id of its process into `started`."""
    started.write_text(str(os.getpid()))
    while True:
        pass


def killed(_models: Models) -> None:
    """Kills its own process, as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def hungry(_models: Models, size: int) -> int:
    """Allocates `size` bytes at once and returns the number of bytes."""
    return np.ones(size, np.uint8).nbytes


def hungry_network(_models: Models, size: int) -> int:
    """The same with torch's allocator."""
    return torch.ones(size, dtype=torch.uint8).nbytes


def hungry_bit_by_bit(_models: Models, size: int) -> int:
    """The same in small pieces, as a list of many values grows."""
    return sum(map(len, [bytes(100_000) for _ in range(size // 100_000)]))


def refused(_models: Models, sentence: str) -> None:
    """Raises the error of an image that cannot be read."""
    raise ImageRefused(sentence)


def at_fault(_models: Models, file: str) -> bytes:
    """Fails like a fault of ours that only some files show."""
    return Path(file).read_bytes()


class EndsTheFirstStart:
    """A model that kills the first process to unpickle it, as soon as `file` exists. Further processes get None."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return _unpickle_once, (self.file,)


def _unpickle_once(file: Path) -> None:
    done = file.with_suffix(".done")
    if done.exists():
        return
    until = time.monotonic() + 60
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.01)
    done.touch()
    os.kill(os.getpid(), signal.SIGKILL)


def copied_by_collection(_models: Models) -> int:
    """The bytes of shared memory that this process copies when it collects garbage."""
    before = _private()
    gc.collect()
    return _private() - before


def _private() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))
