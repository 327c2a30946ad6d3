"""Work that hangs or dies, and visitors who leave it (section 6)."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from src.service.worker_pool import ENDED, TOO_LONG
from tests.attack.bench import Bench, Checks, tree
from tests.attack.load import FEW, Clients, Seen
from tests.attack.row import Row
from tests.attack.visitor import PATIENCE
from tests.space import VARIABLES
from tests.support.app import running

LEAVING, FEW_LEAVING = 100, 6
KILLS, FEW_KILLS = 30, 3

NEXT_SECONDS = 5
"""The longest acceptable wait of the next visitor after a process was killed."""


def workers(bench: Bench) -> list[int]:
    """The worker processes: those whose parent is the process that they are forked from."""
    below = tree(bench.app.process.pid)
    return [pid for pid in below if _parent(pid) in below and _parent(pid) != bench.app.process.pid]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def killed(bench: Bench) -> Iterator[Row]:
    """Kill working processes, as the kernel does when memory runs out."""
    clients = Clients(bench.app.url)
    seen, slowest, wanted = Seen(), 0.0, FEW_KILLS if bench.short else KILLS
    for number in range(wanted):
        # Each time at another moment of the work; the first time while they stand idle.
        there = workers(bench)
        kills = [threading.Timer(0.005 * number, _end, (worker, signal.SIGKILL)) for worker in there]
        for kill in kills:
            kill.start()
        hit = clients.load(1, PATIENCE, calls=1)
        for kill in kills:
            kill.join()
        # The next one is who comes after: what is killed takes some milliseconds to end, with all of its threads.
        while any(Path(f"/proc/{worker}").exists() for worker in there):
            time.sleep(0.001)
        following = clients.load(1, PATIENCE, calls=1)
        seen.said += hit.said
        seen.wrong += [*hit.wrong, *following.wrong, *following.said]
        slowest = max(slowest, *following.took, 0)
    yield Row(
        6,
        "All worker processes killed (SIGKILL), each time at another moment of their work",
        wanted,
        f"{seen.said[ENDED]} visitors were told {ENDED!r}; each next one was answered, the slowest after "
        f"{slowest:.1f} s; {len(seen.wrong)} otherwise ({'; '.join(seen.wrong[:3]) or 'none'}).",
        not seen.wrong and set(seen.said) <= {ENDED} and 0 < slowest < NEXT_SECONDS,
    )


def hung(bench: Bench) -> Iterator[Row]:
    """Stop working processes."""
    clients = Clients(bench.app.url)
    stopped = workers(bench)
    for worker in stopped:
        _end(worker, signal.SIGSTOP)
    asked = time.monotonic()
    seen = clients.load(len(stopped), PATIENCE, calls=len(stopped))
    took, asked = time.monotonic() - asked, time.monotonic()
    after = clients.load(1, PATIENCE, calls=1)
    waited = time.monotonic() - asked
    yield Row(
        6,
        "Every worker process stopped (SIGSTOP), so that it hangs",
        len(stopped),
        f"{seen.said[TOO_LONG]} visitors were told {TOO_LONG!r} after {took:.1f} s; the next one was answered after "
        f"{waited:.1f} s; {sum(map(_lives, stopped))} of the hung processes are left.",
        seen.said[TOO_LONG] == len(stopped) and len(after.took) == 1 and waited < NEXT_SECONDS
        and not any(map(_lives, stopped)),
    )  # fmt: skip


def left(bench: Bench) -> Iterator[Row]:
    """Send calls and close the connection before the answer."""
    clients = Clients(bench.app.url)
    wanted = FEW_LEAVING if bench.short else LEAVING
    quiet = max(clients.load(1, PATIENCE, calls=5).took)
    task, path = clients.asks[0]
    body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, 0.3, "Guided Grad-CAM"]}
    http = httpx.Client(base_url=bench.app.url, timeout=PATIENCE)
    for _ in range(wanted):
        answer = http.post(f"/gradio_api/call/{task}", json=body)
        if answer.status_code == httpx.codes.OK:
            with http.stream("GET", f"/gradio_api/call/{task}/{answer.json()['event_id']}"):
                pass
    asked = time.monotonic()
    after = clients.load(1, PATIENCE, calls=1)
    waited = time.monotonic() - asked
    yield Row(
        6,
        "Visitors who request the slowest heat map and close the connection",
        wanted,
        f"The next visitor waited {waited:.1f} s; {quiet:.1f} s on an idle server.",
        len(after.took) == 1 and waited < quiet + NEXT_SECONDS,
    )


def ends(bench: Bench) -> Iterator[Row]:
    """End the app itself while it works."""
    for name in ("SIGTERM", "SIGKILL"):
        folder = bench.folder / name
        folder.mkdir()
        with running(folder, VARIABLES) as app:
            clients = Clients(app.url)
            task, path = clients.asks[0]
            body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, 0.3, "Guided Grad-CAM"]}
            for _ in range(FEW):
                httpx.post(f"{app.url}/gradio_api/call/{task}", json=body, timeout=PATIENCE)
            below = tree(app.process.pid)
            app.process.send_signal(getattr(signal, name))
            app.process.wait(30)
            until = time.monotonic() + NEXT_SECONDS
            while (orphans := [pid for pid in below if _lives(pid)]) and time.monotonic() < until:
                time.sleep(0.1)
        yield Row(
            6,
            f"The app ended by {name}",
            1,
            f"{len(orphans)} of its {len(below)} processes still run after {NEXT_SECONDS} s.",
            not orphans,
        )


def _end(pid: int, how: signal.Signals) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return  # ended by itself, since


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


CHECKS: Checks = {6: (killed, hung, left, ends)}
