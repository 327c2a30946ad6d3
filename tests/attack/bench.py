"""What a check is given: the app, started as a Space starts it, and a folder; and how much memory a process holds.

A check is a function of a Bench that yields Rows. Load goes to loopback only, in bounded loops.
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
    """`app` is freshly started for each point of the list; `folder` is empty; `short` asks for a few seconds' worth."""

    app: Server
    folder: Path
    short: bool = False


Check = Callable[[Bench], Iterator[Row]]
Checks = dict[int, tuple[Check, ...]]
"""What a module of checks names CHECKS: the section of docs/HARDENING.md -> what is tried for it, in this order."""

CANARIES = {"HF_TOKEN": "hf_canaryOfTheHubToken", "VIGIL_WRITER_TOKEN": "canaryOfTheWriterToken"}
"""Secrets in the app's environment while it is attacked: no answer may hold one."""


SETTLED = 2**20
"""Bytes by which the memory of an app that has started, and of which nothing is asked, may move in five seconds."""


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
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
    """Bytes that a process and its children hold; with "VmHWM" the most that each ever held."""
    return sum(_status(each, field) for each in tree(pid))


@contextmanager
def meanwhile(seconds: float, look: Callable[[], object]) -> Iterator[None]:
    """Look again and again while the block runs, with so many seconds in between."""
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


def settle(pid: int) -> None:
    """Wait, two minutes at most, until an app just started has loaded what it needs: its memory stands still."""
    until, before = time.monotonic() + 120, 0
    while abs(memory(pid) - before) > SETTLED and time.monotonic() < until:
        before = memory(pid)
        time.sleep(5)


def _status(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)
