"""Work to be done in another process, for tests: quick to import there, as functions that are handed over must be."""

import os
import signal
import time
from pathlib import Path

from src.pictures.decode import ImageRefused
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


def refused(_models: Models, sentence: str) -> None:
    """As a picture that cannot be read."""
    raise ImageRefused(sentence)


def at_fault(_models: Models, file: str) -> bytes:
    """As a mistake of ours that shows only with some files."""
    return Path(file).read_bytes()
