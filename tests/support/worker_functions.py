"""Work to be done in another process, for tests: quick to import there, as functions that are handed over must be."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import torch

from src.pictures.picture import ImageRefused
from src.service.worker_pool import Models


def probabilities(models: Models, name: str, file: str) -> tuple[float, ...]:
    """What the model `name` says of a picture."""
    return models[name].predict(file).probabilities


def process(_models: Models, seconds: float = 0) -> int:
    """The process it is done in, after some time asleep."""
    time.sleep(seconds)
    return os.getpid()


def busy(_models: Models, told: Path) -> None:
    """Never ends; says in `told` which process it is."""
    told.write_text(str(os.getpid()))
    while True:
        pass


def killed(_models: Models) -> None:
    """As the kernel does where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def hungry(_models: Models, size: int) -> int:
    """Takes so many bytes at once; how many it was given."""
    return np.ones(size, np.uint8).nbytes


def hungry_network(_models: Models, size: int) -> int:
    """The same by torch's allocator."""
    return torch.ones(size, dtype=torch.uint8).nbytes


def hungry_bit_by_bit(_models: Models, size: int) -> int:
    """The same in small pieces, as a list of many values grows."""
    return sum(map(len, [bytes(100_000) for _ in range(size // 100_000)]))


def refused(_models: Models, sentence: str) -> None:
    """As a picture that cannot be read."""
    raise ImageRefused(sentence)


def at_fault(_models: Models, file: str) -> bytes:
    """As a mistake of ours that shows only with some files."""
    return Path(file).read_bytes()
