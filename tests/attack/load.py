"""Load (section 5), and the clients that ask for it.

How fast a machine is differs; so throughput is judged against that of four clients, in the same minutes.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import httpx
import numpy as np

from src.server.routes import HEALTH
from src.service.worker_pool import ENDED, TOO_LONG
from src.tasks import TASKS
from tests.attack.bench import Bench, Checks, meanwhile
from tests.attack.row import Row
from tests.attack.visitor import PATIENCE, Visitor, seconds_to_wait
from tests.support.app import ROOT

FEW, MANY = 4, 200
"""Clients at once."""
LOAD_SECONDS, SHORT_LOAD_SECONDS = 600, 10
LEAD_SECONDS = 10
"""The first seconds do not count: all clients arrive at once, and some things are slower the first time."""
KEPT: Final = 0.9
"""The smallest acceptable throughput of two hundred clients, as a share of that of four."""
HEALTH_SECONDS = 0.5

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
        """Images per second while all clients were active; for a run with a time limit."""
        return self.in_time / self.seconds


class Clients:
    """Concurrent visitors of one app, over loopback. `quiet` has the answer for each image on an idle server.

    `address`: the address of this machine that they come from, or None.
    """

    def __init__(self, url: str, address: str | None = None) -> None:
        self.url, self.address = url, address
        visitor = Visitor(url, address)
        examples = sorted(path for task in TASKS for path in (ROOT / "examples" / task).iterdir())
        self.asks: list[Ask] = [
            (path.parent.name, visitor.upload(path.read_bytes(), path.name)["path"]) for path in examples
        ]
        self.bad: Ask = ("skin", visitor.upload(b"not a picture", "bad.png")["path"])
        self.quiet: dict[Ask, str] = {}
        asyncio.run(self._quiet())

    async def _quiet(self) -> None:
        async with self.http() as http:
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
        """Run so many clients. Each sends a call, waits for the answer and `pause` seconds more, and repeats."""
        return asyncio.run(self._load(clients, seconds, pause, share_bad, calls))

    async def _load(self, clients: int, seconds: float, pause: float, share_bad: int, calls: float) -> Seen:
        seen, numbers = Seen(), count()
        began = time.monotonic() + min(LEAD_SECONDS, seconds)

        async def client() -> None:
            while time.monotonic() < began + seconds and (number := next(numbers)) < calls:
                bad = share_bad and number % share_bad == 0
                answered = await self.one(http, self.bad if bad else self.asks[number % len(self.asks)], seen)
                if began < time.monotonic() < began + seconds:
                    seen.in_time += answered
                await asyncio.sleep(pause)

        async with self.http() as http:
            await asyncio.gather(*(client() for _ in range(clients)))
        seen.seconds = seconds
        return seen

    async def one(self, http: httpx.AsyncClient, ask: Ask, seen: Seen) -> bool:
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
        elif accepted.status_code == httpx.codes.OK and json.loads(said) in (ENDED, TOO_LONG):
            seen.said[json.loads(said)] += 1
        elif accepted.status_code == httpx.codes.OK and (seconds := seconds_to_wait(said)) is not None:
            seen.told_to_wait += 1
            await asyncio.sleep(seconds)
        else:
            seen.wrong.append(f"{accepted.status_code} {said[:80]}")
        return False

    @asynccontextmanager
    async def http(self, who: str = "") -> AsyncIterator[httpx.AsyncClient]:
        """Connections of the visitor who has this address, as a Space's proxy names it."""
        # The server closes what is idle for 5 s; who uses it in that moment loses a request.
        limits = httpx.Limits(max_connections=2 * MANY, keepalive_expiry=2)
        headers = {"X-Forwarded-For": who} if who else {}
        transport = httpx.AsyncHTTPTransport(limits=limits, local_address=self.address)
        async with httpx.AsyncClient(base_url=self.url, timeout=PATIENCE, transport=transport, headers=headers) as http:
            yield http


class Pulse:
    """Requests /healthz repeatedly; `took` has the seconds of each answer."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=PATIENCE)
        self.took: list[float] = []

    def look(self) -> None:
        asked = time.monotonic()
        self._http.get(HEALTH).raise_for_status()
        self.took.append(time.monotonic() - asked)

    def percentile(self, share: float) -> float:
        """Seconds."""
        return float(np.percentile(self.took, share))


def crowd(bench: Bench) -> Iterator[Row]:
    """Compare two hundred clients at once with four."""
    clients = Clients(bench.app.url)
    seconds = SHORT_LOAD_SECONDS if bench.short else LOAD_SECONDS
    few = clients.load(FEW, seconds / 4)
    pulse = Pulse(bench.app.url)
    with meanwhile(0.1, pulse.look):
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
        f"{HEALTH} requested ten times per second under this load",
        len(pulse.took),
        f"Answered within {1000 * pulse.percentile(50):.0f} ms (median), {1000 * pulse.percentile(99):.0f} ms (p99).",
        pulse.percentile(99) < HEALTH_SECONDS,
    )


CHECKS: Checks = {5: (crowd,)}
