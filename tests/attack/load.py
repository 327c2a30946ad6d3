"""Load, work that hangs or dies, and memory over many predictions (points 5, 6, 7).

How fast a machine is differs; so throughput is judged against that of four clients, in the same minutes.
"""

import asyncio
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import httpx
import numpy as np

from src.server.routes import HEALTH
from src.tasks import TASKS
from src.work import ENDED, TOO_BUSY, TOO_LONG
from tests.attack.bench import Bench, Checks, memory, tree
from tests.attack.row import Row
from tests.attack.visitor import PATIENCE, Visitor
from tests.conftest import ROOT, running
from tests.space import VARIABLES

FEW, MANY = 4, 200
"""Clients at once."""
LOAD_SECONDS, SHORT_LOAD_SECONDS = 600, 10
LEAD_SECONDS = 10
"""Not counted at first: all clients arrive in the same moment, and some things are slower the first time."""
HOUR, SHORT_HOUR = 3600, 10
PREDICTIONS, FEW_PREDICTIONS = 3000, 60
LEAVING, FEW_LEAVING = 100, 6
KILLS, FEW_KILLS = 30, 3

KEPT: Final = 0.9
"""Share of four clients' throughput that two hundred get at least."""
HEALTH_SECONDS = 0.5
NEXT_SECONDS = 5
"""What the next visitor waits at most where a process was killed."""
GROWN: Final = 0.02
"""Share by which memory may grow over the last third: what the allocator moves to and fro."""
SLOWER: Final = 0.1
"""Share by which the last third's 95th percentile of the time to answer may be above the first's."""
SHARE_BAD = 10  # one call in so many is of a file that is no picture

Ask = tuple[str, str]
"""A task and the path of an uploaded picture."""


@dataclass
class Seen:
    """What came of the calls of one run. `wrong` is what should not have come: another picture's answer among it."""

    seconds: float = 0
    in_time: int = 0
    took: list[float] = field(default_factory=list)
    said: Counter[str] = field(default_factory=Counter)
    told_to_wait: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Pictures answered a second, while all clients asked; of a run bounded by time."""
        return self.in_time / self.seconds


class Clients:
    """Visitors at once of one app, over loopback. `quiet` is what it says of each picture with nobody else there."""

    def __init__(self, url: str) -> None:
        self.url = url
        visitor = Visitor(url)
        examples = sorted(path for task in TASKS for path in (ROOT / "examples" / task).iterdir())
        self.asks: list[Ask] = [
            (path.parent.name, visitor.upload(path.read_bytes(), path.name)["path"]) for path in examples
        ]
        self.bad: Ask = ("skin", visitor.upload(b"not a picture", "bad.png")["path"])
        self.quiet: dict[Ask, str] = {}
        asyncio.run(self._quiet())

    async def _quiet(self) -> None:
        async with self._http() as http:
            for ask in (*self.asks, self.bad):
                _, self.quiet[ask] = await self.ask(http, ask)

    async def ask(self, http: httpx.AsyncClient, ask: Ask) -> tuple[httpx.Response, str]:
        """The answer to the call, and what was said in the end: the result as JSON, or the sentence of a refusal."""
        task, path = ask
        address = f"/gradio_api/call/{task}"
        data = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, 0.3, "Grad-CAM"]}
        accepted = await http.post(address, json=data)
        if accepted.status_code != httpx.codes.OK:
            return accepted, json.dumps(accepted.json()["detail"])
        text = (await http.get(f"{address}/{accepted.json()['event_id']}")).text
        # Beats of the heart may come before.
        event, _, line = text[text.rindex("event: ") :].partition("\ndata: ")
        content = json.loads(line)
        said = content[0] if event == "event: complete" else content["error"]
        return accepted, json.dumps(said, sort_keys=True)

    def load(self, clients: int, seconds: float, pause: float = 0, share_bad: int = 0, calls: float = np.inf) -> Seen:
        """So many clients, each of which asks, waits for the answer and `pause` seconds, and asks again."""
        return asyncio.run(self._load(clients, seconds, pause, share_bad, calls))

    async def _load(self, clients: int, seconds: float, pause: float, share_bad: int, calls: float) -> Seen:
        seen, numbers = Seen(), count()
        began = time.monotonic() + min(LEAD_SECONDS, seconds)

        async def client() -> None:
            while time.monotonic() < began + seconds and (number := next(numbers)) < calls:
                bad = share_bad and number % share_bad == 0
                answered = await self._one(http, self.bad if bad else self.asks[number % len(self.asks)], seen)
                if began < time.monotonic() < began + seconds:
                    seen.in_time += answered
                await asyncio.sleep(pause)

        async with self._http() as http:
            await asyncio.gather(*(client() for _ in range(clients)))
        seen.seconds = seconds
        return seen

    async def _one(self, http: httpx.AsyncClient, ask: Ask, seen: Seen) -> bool:
        """Whether it was answered."""
        asked = time.monotonic()
        try:
            accepted, said = await self.ask(http, ask)
        except (httpx.HTTPError, ValueError, LookupError) as error:
            seen.wrong.append(repr(error))
            return False
        if said == self.quiet[ask]:
            seen.took.append(time.monotonic() - asked)
            return True
        if accepted.status_code in (429, 503) and accepted.headers["Retry-After"].isdigit():
            seen.told_to_wait += 1
            await asyncio.sleep(int(accepted.headers["Retry-After"]))
        elif accepted.status_code == httpx.codes.OK and json.loads(said) in (ENDED, TOO_BUSY, TOO_LONG):
            seen.said[json.loads(said)] += 1
        else:
            seen.wrong.append(f"{accepted.status_code} {said[:80]}")
        return False

    @asynccontextmanager
    async def _http(self) -> AsyncIterator[httpx.AsyncClient]:
        # The server closes what is idle for 5 s; who uses it in that moment loses a request.
        limits = httpx.Limits(max_connections=2 * MANY, keepalive_expiry=2)
        async with httpx.AsyncClient(base_url=self.url, timeout=PATIENCE, limits=limits) as http:
            yield http


class Pulse:
    """Asks whether the app lives, ten times a second, while the block runs; `took` are the seconds of each answer."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=PATIENCE)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat)
        self.took: list[float] = []

    def __enter__(self) -> "Pulse":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(0.1):
            asked = time.monotonic()
            self._http.get(HEALTH).raise_for_status()
            self.took.append(time.monotonic() - asked)

    def percentile(self, share: float) -> float:
        """Seconds."""
        return float(np.percentile(self.took, share))


def crowd(bench: Bench) -> Iterator[Row]:
    """Two hundred clients at once, against four."""
    clients = Clients(bench.app.url)
    seconds = SHORT_LOAD_SECONDS if bench.short else LOAD_SECONDS
    few = clients.load(FEW, seconds / 4)
    with Pulse(bench.app.url) as pulse:
        many = clients.load(MANY, seconds)
    again = clients.load(FEW, seconds / 4)
    before = (few.in_time + again.in_time) / (few.seconds + again.seconds)
    wrong = few.wrong + many.wrong + again.wrong
    yield Row(
        5,
        f"{MANY} clients at once for {seconds} s, each asking again as soon as it is answered",
        len(many.took) + many.told_to_wait + many.said.total() + len(many.wrong),
        f"{len(many.took):,} answered as with nobody else there; {many.told_to_wait:,} told to wait, with Retry-After; "
        f"{many.said.total()} given a sentence; {len(wrong)} otherwise ({'; '.join(wrong[:3]) or 'none'}). "
        f"{many.per_second:.2f} answers a second, {many.per_second / before:.2f} of what {FEW} clients get.",
        not wrong and many.per_second >= KEPT * before,
    )
    yield Row(
        5,
        f"Is it alive? Asked ten times a second meanwhile ({HEALTH})",
        len(pulse.took),
        f"Answered within {1000 * pulse.percentile(50):.0f} ms (median), {1000 * pulse.percentile(99):.0f} ms (p99).",
        pulse.percentile(99) < HEALTH_SECONDS,
    )


def workers(bench: Bench) -> list[int]:
    """The processes that read pictures: those whose parent is the one they are forked from."""
    below = tree(bench.app.process.pid)
    return [pid for pid in below if _parent(pid) in below and _parent(pid) != bench.app.process.pid]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def killed(bench: Bench) -> Iterator[Row]:
    """Processes killed while they work, as the kernel does where memory runs out."""
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
        "All processes that read pictures killed (SIGKILL) at another moment of their work each time",
        wanted,
        f"{seen.said[ENDED]} visitors were told {ENDED!r}; each next one was answered, the slowest after "
        f"{slowest:.1f} s; {len(seen.wrong)} otherwise ({'; '.join(seen.wrong[:3]) or 'none'}).",
        not seen.wrong and set(seen.said) <= {ENDED} and 0 < slowest < NEXT_SECONDS,
    )


def hung(bench: Bench) -> Iterator[Row]:
    """Processes stopped while they work."""
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
        "Every process that reads pictures made to hang (SIGSTOP)",
        len(stopped),
        f"{seen.said[TOO_LONG]} visitors were told {TOO_LONG!r} after {took:.1f} s; the next one was answered after "
        f"{waited:.1f} s; {sum(map(_lives, stopped))} of the hung processes are left.",
        seen.said[TOO_LONG] == len(stopped) and len(after.took) == 1 and waited < NEXT_SECONDS
        and not any(map(_lives, stopped)),
    )  # fmt: skip


def left(bench: Bench) -> Iterator[Row]:
    """Visitors who ask and close the connection."""
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
        "Visitors who ask for the slowest map and close the connection",
        wanted,
        f"The next one was answered after {waited:.1f} s; {quiet:.1f} s with nobody else there.",
        len(after.took) == 1 and waited < quiet + NEXT_SECONDS,
    )


def ends(bench: Bench) -> Iterator[Row]:
    """The app itself ended, in the middle of work."""
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
            f"Of its {len(below)} processes {len(orphans)} are left after at most {NEXT_SECONDS} s.",
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


CHECKS: Checks = {
    5: (crowd,),
    6: (killed, hung, left, ends),
    7: (many_predictions, an_hour),
}
