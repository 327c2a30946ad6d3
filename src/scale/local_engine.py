"""Scores parts in processes of this machine, one for each core or GPU."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from queue import SimpleQueue

import torch

from src.scale.parts import Part, Written
from src.scale.process import PartFailed, ScoringProcess
from src.scale.worker import Job

Outcome = Written | PartFailed
"""A part's file, or the reason why there is none."""


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def score_parts(parts: Sequence[Part], job: Job, workers: int | None) -> Iterator[Outcome]:
    """The outcome of each part, as they come. `workers`: the number of processes; None for one on each core or GPU.

    Raises ScaleError. If the caller stops early, the processes end at once.
    """
    gpus = torch.cuda.device_count() if job.device == "cuda" else 0
    number = min(workers or gpus or cores(), len(parts))
    processes = [ScoringProcess(job, f"cuda:{index % gpus}" if gpus else job.device) for index in range(number)]
    idle: SimpleQueue[ScoringProcess] = SimpleQueue()
    for process in processes:
        idle.put(process)

    def outcome(part: Part) -> Outcome:
        process = idle.get()
        try:
            return process.score(part)
        except PartFailed as failure:
            return failure
        finally:
            idle.put(process)

    threads = ThreadPoolExecutor(max(number, 1), thread_name_prefix="scoring process")
    try:
        for future in as_completed([threads.submit(outcome, part) for part in parts]):
            yield future.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.close()
        threads.shutdown()
