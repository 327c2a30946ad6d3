"""The arguments of a check, and the memory of a process.

A check is a function that takes a Bench and yields Rows. It sends requests to loopback only, in bounded loops.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.attack.row import Row
from tests.support.app import Server


@dataclass(frozen=True)
class Bench:
    """`app` is started anew for each section. `folder` is empty. `short` limits a check to a few seconds."""

    app: Server
    folder: Path
    short: bool = False


Check = Callable[[Bench], Iterator[Row]]
Checks = dict[int, tuple[Check, ...]]
"""The type of CHECKS in a module of checks: the section of docs/HARDENING.md -> its checks, in order."""

CANARIES = {"HF_TOKEN": "hf_canaryOfTheHubToken", "VIGIL_WRITER_TOKEN": "canaryOfTheWriterToken"}
"""Secrets in the environment of the attacked app. No answer may contain one."""


SETTLED = 2**20
"""The largest change in bytes, from one measurement to the next, of the memory of an idle app that has finished its
start."""


def tree(pid: int) -> list[int]:
    """The ids of a process and of all its descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in brackets may hold spaces; the parent is the second field after it.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # ended meanwhile
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def memory(pid: int, field: str = "VmRSS") -> int:
    """The bytes of memory of a process and its descendants; with "VmHWM", the highest that each has had."""
    return sum(_status(each, field) for each in tree(pid))


@contextmanager
def meanwhile(seconds: float, look: Callable[[], object]) -> Iterator[None]:
    """Call `look` every `seconds` seconds while the block runs."""
    over = threading.Event()

    def again() -> None:
        while not over.wait(seconds):
            look()

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def settle(pid: int, every: float = 5) -> None:
    """Wait until the memory of a started app no longer changes, for two minutes at most; measured `every` so many
    seconds."""
    until, before = time.monotonic() + 120, 0
    while abs(memory(pid) - before) > SETTLED and time.monotonic() < until:
        before = memory(pid)
        time.sleep(every)


def _status(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)
