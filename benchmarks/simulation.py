"""A simulated run of parts on many processes: what slow cores, deaths and poisonous images cost. Knows no files.

It repeats the rules of src/scale/process.py: a part whose process dies is tried three times, then its images are read
one by one. A part is given to the next process that is free. All times are seconds.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from src.scale.process import IMAGE_TRIES, TRIES


@dataclass(frozen=True)
class Failures:
    """What goes wrong.

    `slow_share`, `slow_factor`: the share of slow processes, and how much longer they take. `deaths_per_hour`: how
    often a process dies while it works, on average. `poisoned`: the share of images that kill their process each time.
    """

    slow_share: float = 0.0
    slow_factor: float = 1.0
    deaths_per_hour: float = 0.0
    poisoned: float = 0.0


@dataclass(frozen=True)
class Cluster:
    """The processes of a run.

    `start`: until a process has its network. `alone`: how much longer images take one by one than in batches.
    """

    workers: int
    start: float = 0.0
    alone: float = 1.0
    failures: Failures = Failures()


@dataclass(frozen=True)
class Simulated:
    """`seconds`: until the last part is written. `worked`: of all processes, their starts included. `repeated`: the
    share of `worked` that an undisturbed run on the same processes would not have needed."""

    seconds: float
    worked: float
    repeated: float


def simulate(parts: Sequence[float], cluster: Cluster, seed: int = 0, images: int = 1) -> Simulated:
    """A run over parts of so many `images`, which take so long on a process that is not slow."""
    random = np.random.default_rng(seed)
    failures = cluster.failures
    poisoned = random.random(len(parts)) < 1 - (1 - failures.poisoned) ** images
    slow = round(cluster.workers * failures.slow_share)
    free = [(cluster.start, number) for number in range(cluster.workers)]
    ended = worked = lost = 0.0
    for seconds, kills in zip(parts, poisoned, strict=True):
        now, number = heapq.heappop(free)
        whole = seconds * (failures.slow_factor if number < slow else 1.0)
        taken = _part(whole, cluster, random, bool(kills))
        heapq.heappush(free, (now + taken, number))
        ended = max(ended, now + taken)
        worked += taken
        lost += taken - whole
    worked += cluster.start * cluster.workers
    return Simulated(ended, worked, lost / worked if worked else 0.0)


def _part(seconds: float, cluster: Cluster, random: np.random.Generator, poisoned: bool) -> float:
    """Seconds from the begin of a part to its file."""
    rate, taken = cluster.failures.deaths_per_hour, 0.0
    for _ in range(TRIES):
        death = random.exponential(3600 / rate) if rate else np.inf
        if poisoned:
            death = min(death, random.uniform(0, seconds))
        if death >= seconds:
            return taken + seconds
        taken += death + cluster.start
    return taken + cluster.alone * seconds + (IMAGE_TRIES * cluster.start if poisoned else 0.0)
