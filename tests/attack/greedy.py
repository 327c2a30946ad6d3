"""One greedy visitor, a crowd on a slow machine, and connections that are only held open (sections 5 and 1)."""

import asyncio
import io
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, Final

import httpx
import numpy as np
from PIL import Image

from src.server.routes import HEALTH
from src.service.worker_pool import TOO_LONG
from tests.attack.bench import Bench, Checks
from tests.attack.load import Clients, Seen
from tests.attack.row import Row
from tests.attack.visitor import Visitor
from tests.space import VARIABLES
from tests.support.app import running

FLOOD, SHORT_FLOOD = 58, 12
OTHERS, FEW_OTHERS = 40, 5
OTHER_SECONDS: Final = 5.0
"""The longest acceptable wait of a second visitor (p95)."""
CROWD_SECONDS: Final = 20.0
"""The longest acceptable wait of any visitor of a crowd, for an answer or a refusal."""

SOCKETS: Final = 280
DESCRIPTORS: Final = 256
LOG_BYTES: Final = 10**6

GREEDY: Final = "203.0.113.66"


def heavy() -> bytes:
    """A flat picture of 40 megapixels, 16 bits each: a tenth of a megabyte that costs seconds."""
    out = io.BytesIO()
    Image.fromarray(np.full((6300, 6300), 30_000, np.uint16)).save(out, "PNG")
    return out.getvalue()


ANSWERED: Final = "answered"
WAIT, WAIT_AT_ONCE = "refused, with a time to try again", "refused at once, with a time to try again"


def outcome(text: str) -> str:
    """The outcome of one call, from its stream of events. An unexpected answer is quoted."""
    ends = {"event: complete": ANSWERED, "try again in": WAIT, TOO_LONG: "stopped at the time limit"}
    return next((what for end, what in ends.items() if end in text), f"“{text[-150:]}”")


def refusal(response: httpx.Response) -> str:
    """The outcome of a call that was refused by its status."""
    promised = response.status_code in (429, 503) and response.headers.get("Retry-After", "").isdigit()
    return WAIT_AT_ONCE if promised else f"{response.status_code} “{response.text[:150]}”"


def unpromised(said: Counter[str]) -> int:
    """The number of calls with an unexpected outcome."""
    return said.total() - said[ANSWERED] - said[WAIT] - said[WAIT_AT_ONCE]


def greedy(bench: Bench) -> Iterator[Row]:
    """One visitor sends many costly images at once, and another sends one image after another."""
    flood, others = (SHORT_FLOOD, FEW_OTHERS) if bench.short else (FLOOD, OTHERS)
    path = Visitor(bench.app.url).upload(heavy(), "flat.png")
    clients = Clients(bench.app.url)
    seen, said = asyncio.run(_beside(clients, path, flood, others))
    p95 = float(np.percentile(seen.took, 95)) if seen.took else float("inf")
    yield Row(
        5,
        f"{flood} flat 16-bit PNGs of 40 megapixels asked for at once by one visitor; another asks beside it",
        flood + others,
        f"The other: {len(seen.took)} of {others} answered, within {p95:.1f} s (p95), {max(seen.took, default=0):.1f} "
        f"at most; {seen.told_to_wait} told to wait; {len(seen.wrong)} otherwise. The greedy one: "
        + ", ".join(f"{count} {what}" for what, count in sorted(said.items()))
        + ".",
        len(seen.took) == others
        and p95 < OTHER_SECONDS
        and said.total() == flood
        and said[ANSWERED] > 0
        and not unpromised(said),
    )


async def _beside(clients: Clients, path: dict[str, Any], flood: int, others: int) -> tuple[Seen, Counter[str]]:
    """The outcomes of the second visitor's calls, and of the first visitor's."""
    seen, said = Seen(), Counter[str]()

    async def one(http: httpx.AsyncClient) -> None:
        data = {"data": [path, 0.3, "none"]}
        accepted = await http.post("/gradio_api/call/skin", json=data)
        if accepted.status_code != httpx.codes.OK:
            said[refusal(accepted)] += 1
            return
        text = (await http.get(f"/gradio_api/call/skin/{accepted.json()['event_id']}")).text
        said[outcome(text)] += 1

    async with clients.http(GREEDY) as his, clients.http("203.0.113.7") as hers:
        flooding = asyncio.gather(*(one(his) for _ in range(flood)))
        await asyncio.sleep(2)
        for number in range(others):
            await clients.one(hers, clients.asks[number % len(clients.asks)], seen)
        await flooding
    return seen, said


def slowed(bench: Bench) -> Iterator[Row]:
    """A hundred visitors at once, each with one call, on a slow machine."""
    visitors = 20 if bench.short else 100
    clients = Clients(bench.app.url)
    path = Visitor(bench.app.url).upload(heavy(), "flat.png")
    took, said = asyncio.run(_crowd(clients, path, visitors))
    longest = max(map(max, took.values()), default=0.0)
    yield Row(
        5,
        f"{visitors} visitors at once, each of whom asks for a picture that costs seconds",
        visitors,
        ", ".join(f"{count} {what} (within {max(took[what]):.1f} s)" for what, count in sorted(said.items())) + ".",
        said.total() == visitors and not unpromised(said) and said[ANSWERED] > 0 and longest <= CROWD_SECONDS,
    )


async def _crowd(clients: Clients, path: dict[str, Any], visitors: int) -> tuple[dict[str, list[float]], Counter[str]]:
    """The seconds to each outcome, and how often each came."""
    took: defaultdict[str, list[float]] = defaultdict(list)
    said = Counter[str]()

    async def one(number: int) -> None:
        async with clients.http(f"198.51.100.{number}") as http:
            asked = time.monotonic()
            accepted = await http.post("/gradio_api/call/skin", json={"data": [path, 0.3, "none"]})
            if accepted.status_code == httpx.codes.OK:
                text = (await http.get(f"/gradio_api/call/skin/{accepted.json()['event_id']}")).text
                what = outcome(text)
            else:
                what = refusal(accepted)
            said[what] += 1
            took[what].append(time.monotonic() - asked)

    await asyncio.gather(*(one(number) for number in range(visitors)))
    return took, said


KINDS: Final = {
    "without any bytes": b"",
    "with a heartbeat each": b"GET /gradio_api/heartbeat/held%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "with an event stream each": b"GET /gradio_api/queue/data?session_hash=held%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "with an MCP stream each": b"GET /gradio_api/mcp/?%d HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Accept: text/event-stream\r\n\r\n",
    "with the first half of an upload each": b"POST /gradio_api/upload?%d HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: 5000\r\n\r\n--edge\r\n",
}
"""What is held -> the beginning of each request, with its number."""

STARTED: Final = (
    "import os, resource, sys\n"
    f"resource.setrlimit(resource.RLIMIT_NOFILE, ({DESCRIPTORS}, {DESCRIPTORS}))\n"
    "os.execv(sys.executable, [sys.executable, 'app.py'])"
)


def held(bench: Bench) -> Iterator[Row]:
    """Open and hold connections to an app that may open few files."""
    own = bench.folder / "few"
    own.mkdir()
    with running(own, VARIABLES, ("-c", STARTED)) as app:
        address = httpx.URL(app.url)
        for what, request in KINDS.items():
            before, opened, took = app.log.stat().st_size, 0, list[float]()
            with ExitStack() as lines:
                for number in range(SOCKETS):
                    with suppress(OSError):
                        line = socket.create_connection((address.host, address.port or 80), timeout=10)
                        lines.enter_context(line)
                        line.sendall(request % number if request else b"")
                        opened += 1
                for _ in range(10):
                    asked = time.monotonic()
                    with suppress(httpx.HTTPError):
                        httpx.get(app.url + HEALTH, timeout=20).raise_for_status()
                        took.append(time.monotonic() - asked)
                    time.sleep(0.5)
            logged = app.log.stat().st_size - before
            yield Row(
                1,
                f"Connections held, {what}, against an app that may open {DESCRIPTORS} files",
                opened,
                f"{HEALTH} was answered {len(took)} of 10 times meanwhile, within {max(took, default=0):.2f} s; "
                f"{logged / 1000:.0f} kB of log.",
                app.process.poll() is None and len(took) == 10 and logged < LOG_BYTES,
            )


CHECKS: Checks = {1: (held,), 5: (greedy, slowed)}
