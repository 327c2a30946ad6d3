"""Scores parts in the present process: a part's images -> its file. Knows neither tries nor other processes."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch

from src.exports.csv_rows import row
from src.models import checkpoint_info, checkpoints, engine_choice
from src.models.checkpoints import Checkpoint
from src.models.forward import Precision
from src.models.predictor import Predictor
from src.pictures.picture import ImageRefused
from src.scale import parts
from src.scale.addresses import ScaleError, StoreError
from src.scale.images import Image
from src.scale.parts import Part, Written
from src.scale.store import Store

READERS: Final = 4
"""Threads of a process that fetch and decode images. They mostly wait where images come from a store."""


@dataclass(frozen=True)
class Job:
    """What a process needs to score the parts of a run.

    `weights`: as for `checkpoints.load`; None for the embedded checkpoint. `fingerprint`: that of the checkpoint that
    the rows must come from. `engine`: the value of VIGIL_ENGINE. `device`: "cpu" or "cuda". `out`: the address of the
    store.
    """

    task: str
    weights: str | None
    fingerprint: str
    threshold: float
    mpp: float | None
    precision: Precision
    engine: str
    device: str
    out: str


def fingerprint(checkpoint: Checkpoint) -> str:
    """A hash of everything in a checkpoint that changes a row: its networks, its settings and its quality warnings."""
    effects = sorted(checkpoint.evaluation.flaw_effects.items())
    return hashlib.sha256(f"{checkpoint.config.model_dump_json()} {effects}".encode()).hexdigest()


class Scorer:
    """The network of a job, in one thread.

    `device`: torch's name of the device. Raises ScaleError if this machine has other weights than the job.
    """

    def __init__(self, job: Job, device: str) -> None:
        self.job = job
        os.environ[engine_choice.VARIABLE] = job.engine
        # Each core has a process of its own. A number of threads that is always the same also gives the same rows.
        torch.set_num_threads(1)
        try:
            checkpoint = checkpoints.load(job.task, job.weights or checkpoint_info.EMBEDDED / job.task)
            if fingerprint(checkpoint) != job.fingerprint:
                raise ScaleError("A worker has other weights than the run; give --weights, and the same Vigil to all.")
            self._predictor = Predictor(checkpoint, device, job.precision)
        except (checkpoints.CheckpointError, engine_choice.EngineRefused) as error:
            raise ScaleError(f"A worker cannot score: {error}") from error
        self._store = Store(job.out)

    def rows(self, images: Sequence[Image]) -> list[dict[str, str]]:
        """The row of each image, in order. Raises StoreError."""
        job, task = self.job, self._predictor.task
        sources = (image.source for image in images if image.error is None)
        answers = self._predictor.predict_many(sources, workers=READERS, mpp=job.mpp)
        found = []
        for image in images:
            answer = image.error or next(answers)
            said = str(answer) if isinstance(answer, ImageRefused) else answer
            found.append(row(task, image.path, said, job.threshold))
        return found

    def score(self, part: Part) -> Written:
        """Write the file of a part, unless it is there and whole. Raises StoreError."""
        with writing(self._store):
            there = parts.written(self._store, part.name)
        return there or self.write(part, self.rows(part.images))

    def write(self, part: Part, rows: Sequence[Mapping[str, str]]) -> Written:
        """Write these rows into the file of a part. Raises StoreError."""
        with writing(self._store):
            return parts.write(self._store, self.job.task, part, rows)


@contextmanager
def writing(store: Store) -> Iterator[None]:
    """Raise an OSError within the block, such as that of a full disk, as StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{store.called} cannot be used ({error.strerror or type(error).__name__}).") from None
