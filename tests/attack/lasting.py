"""Memory, threads and files over many predictions and over an hour (section 7)."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from tests.attack.bench import Bench, Checks, meanwhile, memory, tree
from tests.attack.load import FEW, Clients, Seen
from tests.attack.row import Row
from tests.attack.visitor import PATIENCE

HOUR, SHORT_HOUR = 3600, 10
VISIT = 300  # seconds that the same clients ask
PREDICTIONS, FEW_PREDICTIONS = 3000, 60
GROWN: Final = 0.02
"""The share by which memory may grow over the last third, because the allocator moves memory to and fro."""
SLOWER: Final = 0.1
"""The share by which the 95th percentile of response times may rise from the first to the last third."""
SHARE_BAD = 10  # one call in this many sends a file that is no image


class Watched:
    """Memory, threads and open files of the app and its processes, at each check."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.memory: list[int] = []
        self.threads: list[int] = []
        self.files: list[int] = []

    def look(self) -> None:
        self.memory.append(memory(self._pid))
        processes = [Path(f"/proc/{pid}") for pid in tree(self._pid)]
        self.threads.append(sum(_entries(process / "task") for process in processes))
        self.files.append(sum(_entries(process / "fd") for process in processes))

    @property
    def memory_grown(self) -> float:
        """The share by which the median of the last sixth is above that of the sixth before it."""
        sixth = max(1, len(self.memory) // 6)
        before, last = np.median(self.memory[-2 * sixth : -sixth] or self.memory), np.median(self.memory[-sixth:])
        return float(last / before - 1)

    @staticmethod
    def more(counts: list[int]) -> int:
        """By how much the least of the last sixth is above that of the sixth before it.

        The least, because threads and files come and go with the load, and only those that are left behind add to it.
        """
        sixth = max(1, len(counts) // 6)
        return min(counts[-sixth:]) - min(counts[-2 * sixth : -sixth] or counts)

    def __str__(self) -> str:
        """For a Row."""
        counted = (
            f"{name} {min(counts)} to {max(counts)}, at least {self.more(counts):+d} in the last sixth"
            for name, counts in (("threads", self.threads), ("open files", self.files))
        )
        return "; ".join(
            (
                f"memory {self.memory[0] / 2**20:,.0f} MB at first, {self.memory[-1] / 2**20:,.0f} MB at last, "
                f"{self.memory_grown:+.1%} over the last third",
                *counted,
            )
        )


def _entries(folder: Path) -> int:
    try:
        return sum(1 for _ in folder.iterdir())
    except OSError:
        return 0


def many_predictions(bench: Bench) -> Iterator[Row]:
    """Predict in a new session each time, as every call over HTTP does."""
    clients = Clients(bench.app.url)
    wanted = FEW_PREDICTIONS if bench.short else PREDICTIONS
    watched = Watched(bench.app.process.pid)
    with meanwhile(1, watched.look):
        seen = clients.load(FEW, PATIENCE * 20, calls=wanted)
    yield Row(
        7,
        "Predictions, each from a new session",
        wanted,
        f"{len(seen.took):,} answered rightly, {len(seen.wrong)} wrongly; {watched}.",
        len(seen.took) == wanted and (bench.short or watched.memory_grown < GROWN),
    )


def an_hour(bench: Bench) -> Iterator[Row]:
    """For an hour, 70% of the load that the app can serve. One call in ten sends a file that is no image."""
    seconds = SHORT_HOUR if bench.short else HOUR
    most = Clients(bench.app.url).load(FEW, min(60, seconds)).per_second
    seen: list[Seen] = []
    watched = Watched(bench.app.process.pid)
    with meanwhile(1, watched.look):
        began = time.monotonic()
        while (left := seconds - (time.monotonic() - began)) > 0:
            # Others each time, with uploads of their own: what was sent three quarters of an hour ago is gone.
            clients = Clients(bench.app.url)
            # So many that their pauses set the pace, not the answers.
            pause = 5 * FEW / (0.7 * most) - 1 / most
            seen.append(clients.load(5 * FEW, min(VISIT, left), pause=pause, share_bad=SHARE_BAD))
    took, wrong = [each for part in seen for each in part.took], [what for part in seen for what in part.wrong]
    share = sum(part.in_time for part in seen) / sum(part.seconds for part in seen) / most
    third = len(took) // 3
    first, last = (float(np.percentile(part, 95)) for part in (took[:third], took[-third:]))
    flat = watched.memory_grown < GROWN and watched.more(watched.threads) <= 0 and watched.more(watched.files) <= 0
    yield Row(
        7,
        f"{seconds:,} s at 70% of the highest load; one call in {SHARE_BAD} sends a file that is no image",
        len(took) + len(wrong),
        f"{share:.0%} of it; {len(took):,} answered rightly, {len(wrong)} wrongly ({'; '.join(wrong[:3]) or 'none'}); "
        f"p95 {first:.2f} s in the first third and {last:.2f} s in the last; {watched}.",
        not wrong and bench.app.process.poll() is None and (bench.short or (flat and last < (1 + SLOWER) * first)),
    )


CHECKS: Checks = {7: (many_predictions, an_hour)}
