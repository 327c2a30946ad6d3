"""Requests that are cheap to send and costly to answer, many at once: pages (section 5) and open bodies (section 1)."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import httpx

from src.server.body_memory import MOST
from src.server.routes import HEALTH, JOIN, OPEN
from tests.attack.bench import Bench, Checks, meanwhile
from tests.attack.load import Pulse
from tests.attack.row import Row
from tests.attack.server import MB, PATIENCE, Peak

AT_ONCE: Final = 20
SECONDS: Final = 20.0
SHORT: Final = 3.0
PROMISED: Final = 10
"""The longest acceptable time of another visitor's answer, in times that the page takes with nobody else there."""
BODY: Final = 12 * MB
VISITORS: Final = 8
GREEDY: Final = {"X-Forwarded-For": "203.0.113.1"}


def whole_pages(bench: Bench) -> Iterator[Row]:
    """Ask for each open page twenty times at once, again and again. Meanwhile another visitor asks for a small file and
    opens the page."""
    seconds = SHORT if bench.short else SECONDS
    paths = sorted(path for method, path in OPEN if method == "GET" and "{" not in path and "events" not in path)
    slowest: dict[str, float] = {}
    answered: Counter[int] = Counter()
    greedy = httpx.Client(base_url=bench.app.url, timeout=PATIENCE, headers=GREEDY)
    other = httpx.Client(base_url=bench.app.url, timeout=PATIENCE)
    alone, longest = max(_seconds(other, "/") for _ in range(10)), 0.0
    for path in paths:
        over = threading.Event()

        def ask(path: str = path, over: threading.Event = over) -> None:
            while not over.is_set():
                answered[greedy.get(path).status_code] += 1

        threads = [threading.Thread(target=ask) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + seconds / len(paths)
        times: list[float] = []
        while time.monotonic() < until or not times:
            times += [_seconds(other, asked) for asked in ("/theme.css", "/")]
        over.set()
        for thread in threads:
            thread.join()
        slowest[path] = max(times)
        longest = max(longest, *times)
    greedy.close()
    other.close()
    worst = max(slowest, key=lambda path: slowest[path])
    yield Row(
        5,
        f"Each of the {len(paths)} pages and lists that need no upload, asked for {AT_ONCE} at once by one visitor for "
        f"{seconds:.0f} s; another opens the page",
        answered.total(),
        f"The other was always answered, within {longest:.2f} s at most (beside {worst}), alone within {alone:.2f} s.",
        longest < PROMISED * alone,
    )


def _seconds(visitor: httpx.Client, path: str) -> float:
    began = time.monotonic()
    visitor.get(path).raise_for_status()
    return time.monotonic() - began


def open_bodies(bench: Bench) -> Iterator[Row]:
    """Send JSON bodies of twelve megabytes without their last byte, from several visitors at once."""
    each = 2 if bench.short else 20
    address = httpx.URL(bench.app.url)
    body = b'{"data": ["' + b"x" * (BODY - 20)
    lines: list[socket.socket] = []
    statuses: Counter[int] = Counter()

    def send(visitor: int) -> None:
        head = (
            f"POST {JOIN} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"X-Forwarded-For: 203.0.113.{visitor}\r\nContent-Length: {BODY}\r\n\r\n"
        )
        line = socket.create_connection((address.host, address.port or 80), timeout=PATIENCE)
        lines.append(line)
        with suppress(OSError):  # a refused body is not read to its end
            line.sendall(head.encode() + body)

    peak, pulse = Peak(bench.app.process.pid), Pulse(bench.app.url)
    before = peak.most
    threads = [threading.Thread(target=send, args=(2 + i % VISITORS,)) for i in range(each * VISITORS)]
    with meanwhile(0.02, peak.look), meanwhile(0.05, pulse.look):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for line in lines:
            with line, suppress(OSError):
                answer = line.recv(100)
                statuses[int(answer.split()[1]) if answer else 0] += 1
    grown = peak.most - before
    yield Row(
        1,
        f"JSON bodies of {BODY // MB} MB without their last byte, held by {VISITORS} visitors",
        len(lines),
        f"Statuses {dict(sorted(statuses.items()))} (0: closed); together they took {grown / MB:.0f} MB at most; "
        f"{HEALTH} was answered within {1000 * pulse.percentile(99):.0f} ms (p99).",
        grown < 1.5 * MOST and max(statuses) in (408, 429, 503) and pulse.percentile(99) < 1,
    )


CHECKS: Checks = {1: (open_bodies,), 5: (whole_pages,)}
