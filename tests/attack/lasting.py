"""Memory, threads and files over many predictions and over an hour (point 7)."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from tests.attack.bench import Bench, Checks, memory, tree
from tests.attack.load import FEW, Clients
from tests.attack.row import Row
from tests.attack.visitor import PATIENCE

HOUR, SHORT_HOUR = 3600, 10
PREDICTIONS, FEW_PREDICTIONS = 3000, 60
GROWN: Final = 0.02
"""Share by which memory may grow over the last third: what the allocator moves to and fro."""
SLOWER: Final = 0.1
"""Share by which the last third's 95th percentile of the time to answer may be above the first's."""
SHARE_BAD = 10  # one call in so many is of a file that is no picture


class Watched:
    """Memory, threads and open files of the app and its processes, each second while the block runs."""

    def __init__(self, pid: int) -> None:
        self._pid, self._over = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.memory: list[int] = []
        self.threads: list[int] = []
        self.files: list[int] = []

    def __enter__(self) -> "Watched":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(1):
            self.memory.append(memory(self._pid))
            processes = [Path(f"/proc/{pid}") for pid in tree(self._pid)]
            self.threads.append(sum(_entries(process / "task") for process in processes))
            self.files.append(sum(_entries(process / "fd") for process in processes))

    @staticmethod
    def grown(values: list[int]) -> float:
        """The share by which the median of the last sixth is above that of the sixth before it."""
        sixth = max(1, len(values) // 6)
        before, last = np.median(values[-2 * sixth : -sixth] or values), np.median(values[-sixth:])
        return float(last / before - 1)

    def __str__(self) -> str:
        """For a Row."""
        kinds: list[tuple[str, list[int], Callable[[float], str]]] = [
            ("memory", self.memory, lambda value: f"{value / 2**20:,.0f} MB"),
            ("threads", self.threads, lambda value: f"{value:.0f}"),
            ("open files", self.files, lambda value: f"{value:.0f}"),
        ]
        return "; ".join(
            f"{name} {written(values[0])} at first, {written(values[-1])} at last, {self.grown(values):+.1%} over the "
            "last third"
            for name, values, written in kinds
        )


def _entries(folder: Path) -> int:
    try:
        return sum(1 for _ in folder.iterdir())
    except OSError:
        return 0


def many_predictions(bench: Bench) -> Iterator[Row]:
    """Each from a session of its own, as every call over HTTP is."""
    clients = Clients(bench.app.url)
    wanted = FEW_PREDICTIONS if bench.short else PREDICTIONS
    with Watched(bench.app.process.pid) as watched:
        seen = clients.load(FEW, PATIENCE * 20, calls=wanted)
    yield Row(
        7,
        "Predictions, each from a new session",
        wanted,
        f"{len(seen.took):,} answered rightly, {len(seen.wrong)} wrongly; {watched}.",
        len(seen.took) == wanted and (bench.short or watched.grown(watched.memory) < GROWN),
    )


def an_hour(bench: Bench) -> Iterator[Row]:
    """70% of what the app can do, for an hour, one call in ten of a file that is no picture."""
    clients = Clients(bench.app.url)
    seconds = SHORT_HOUR if bench.short else HOUR
    most = clients.load(FEW, min(60, seconds)).per_second
    with Watched(bench.app.process.pid) as watched:
        # So many that their pauses set the pace, not the answers.
        seen = clients.load(5 * FEW, seconds, pause=5 * FEW / (0.7 * most) - 1 / most, share_bad=SHARE_BAD)
    third = len(seen.took) // 3
    first, last = (float(np.percentile(part, 95)) for part in (seen.took[:third], seen.took[-third:]))
    flat = all(watched.grown(values) < GROWN for values in (watched.memory, watched.threads, watched.files))
    yield Row(
        7,
        f"{seconds:,} s at 70% of the load it can bear, one call in {SHARE_BAD} of a file that is no picture",
        len(seen.took) + len(seen.wrong),
        f"{seen.per_second / most:.0%} of it; {len(seen.took):,} answered rightly, {len(seen.wrong)} wrongly; p95 "
        f"{first:.2f} s in the first third and {last:.2f} s in the last; {watched}.",
        not seen.wrong and bench.app.process.poll() is None and (bench.short or (flat and last < (1 + SLOWER) * first)),
    )


CHECKS: Checks = {7: (many_predictions, an_hour)}
