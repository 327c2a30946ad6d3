"""Interleaved timing: candidates take turns within one run, so that a busy machine slows all of them alike."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Timing:
    """Seconds of repeated calls: their median, the fastest and the slowest."""

    median: float
    fastest: float
    slowest: float

    @classmethod
    def of(cls, seconds: list[float]) -> "Timing":
        """The timing of one or more measurements in seconds."""
        return cls(median(seconds), min(seconds), max(seconds))

    def milliseconds(self) -> str:
        """Median and range in milliseconds, as text."""
        return f"{1e3 * self.median:,.1f} ({1e3 * self.fastest:,.1f} to {1e3 * self.slowest:,.1f})"


def interleaved(candidates: Mapping[str, Callable[[], object]], seconds: float, most: int = 200) -> dict[str, Timing]:
    """Call every candidate in turn, at least three rounds, until `seconds` have passed; at most `most` rounds.

    The first round warms up and is not counted.
    """
    for call in candidates.values():
        call()
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    until = time.perf_counter() + seconds
    for done in range(most):
        if done >= 3 and time.perf_counter() > until:
            break
        for name, call in candidates.items():
            started = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - started)
    return {name: Timing.of(values) for name, values in taken.items()}


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
