"""Scores parts by Ray Data, on this machine or on the machines of a running cluster.

Ray spreads the parts and moves those of a lost actor or machine. In each actor, a `ScoringProcess` does the work as it
does without Ray: so an image that kills its process kills no actor, and the rows are the same.
"""

import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from src.scale.addresses import REQUIREMENTS, ScaleError
from src.scale.local_engine import Outcome, cores
from src.scale.parts import Part
from src.scale.process import PartFailed, ScoringProcess
from src.scale.worker import Job

# Ray sends usage statistics to its makers unless this is set before it is imported. A run of medical images must not.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
STORE_BYTES = 256 * 2**20
"""The object store of a local cluster. It holds parts, which are lists of paths, and no image."""


class Scorer:
    """The actor: one process that scores one part after the other."""

    def __init__(self) -> None:
        self._process: ScoringProcess | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """The outcome of each part of a batch. Both are pickled, so that Ray changes neither."""
        return {"outcome": [pickle.dumps(self._outcome(*pickle.loads(work))) for work in batch["work"]]}

    def _outcome(self, job: Job, part: Part) -> Outcome | ScaleError:
        if self._process is None:
            # Ray shows an actor with a GPU no other GPU.
            self._process = ScoringProcess(job, "cuda:0" if job.device == "cuda" else job.device)
        try:
            return self._process.score(part)
        except (PartFailed, ScaleError) as error:
            return error


def score_parts(parts: Sequence[Part], job: Job, workers: int | None, address: str | None) -> Iterator[Outcome]:
    """The outcome of each part, as they come.

    `workers`: the number of actors; None for one on each core or GPU. `address`: that of a running cluster, or "auto";
    None for a cluster of this machine alone, which ends with the run. Raises ScaleError.
    """
    if not parts:
        return
    ray = _ray(address, workers, job.device)
    try:
        resource = "GPU" if job.device == "cuda" else "CPU"
        most = workers or int(ray.cluster_resources().get(resource, 0))
        if not most:
            raise ScaleError(f"The cluster has no {resource}.")
        most = min(most, len(parts))
        # The job is in each row, because Ray cannot restart an actor whose arguments a lost machine had. Each row is a
        # block, so that a lost actor loses one part.
        rows = [{"work": pickle.dumps((job, part))} for part in parts]
        outcomes = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Scorer,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, initial_size=most, max_size=most),
            num_cpus=1,
            num_gpus=1 if job.device == "cuda" else None,
        )
        for found in outcomes.iter_rows():
            outcome = pickle.loads(found["outcome"])
            if isinstance(outcome, ScaleError):
                raise outcome
            yield outcome
    finally:
        ray.shutdown()


def _ray(address: str | None, workers: int | None, device: str) -> Any:
    """Ray, connected to a cluster. Raises ScaleError."""
    if address is None:
        # Otherwise Ray listens on the address by which other machines reach this one.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ScaleError(f"Ray is not installed: python -m pip install -r {REQUIREMENTS}") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is not None:
            ray.init(address=address, **quiet)
        else:
            ray.init(
                address="local",
                num_cpus=workers or cores(),
                num_gpus=torch.cuda.device_count() if device == "cuda" else 0,
                include_dashboard=False,
                object_store_memory=STORE_BYTES,
                **quiet,
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ScaleError("Ray does not start, or the cluster does not answer; ray status says more.") from error
    return ray
