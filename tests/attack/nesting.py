"""Deeply nested lists, which must not block the server for other visitors (section 5)."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import httpx

from src.server.json_limits import DEPTH, VALUES
from tests.attack.bench import Bench, Checks, meanwhile
from tests.attack.load import Pulse
from tests.attack.row import Row
from tests.attack.visitor import PATIENCE

SIZE: Final = 96_000
"""Bytes of each body."""
A_MINUTE, SHORT = 60, 20
SECONDS_APART: Final = 1.0
PROMISED: Final = 0.1
"""The longest acceptable time of 99 in 100 answers, in seconds."""


def _filled(one: str, size: int = SIZE, most: int = SIZE) -> str:
    return "[" + ",".join([one] * min(most, size // (len(one) + 1))) + "]"


SHAPES: Final[tuple[Callable[[], str], ...]] = (
    lambda: "[" * (SIZE // 2) + "]" * (SIZE // 2),
    lambda: _filled("[]"),
    lambda: _filled("[" * 100 + "]" * 100),
    lambda: _filled("[" * 900 + "]" * 900),
    lambda: '{"a":' * (SIZE // 6) + "1" + "}" * (SIZE // 6),
    # As much as is let through
    lambda: _filled("[]", most=VALUES // 2 - 9),
    lambda: _filled("[" * (DEPTH - 4) + "]" * (DEPTH - 4), most=VALUES // (DEPTH - 3) - 9),
    lambda: _filled('{"a":1}', most=VALUES // 2 - 9),
)


def nesting(bench: Bench) -> Iterator[Row]:
    """Send sixty such bodies in a minute, through the queue and past it, and /healthz twenty times per second."""
    count = SHORT if bench.short else A_MINUTE
    statuses: Counter[int] = Counter()
    quiet, pulse = Pulse(bench.app.url), Pulse(bench.app.url)
    with meanwhile(0.05, quiet.look):
        time.sleep(count * SECONDS_APART / 4)
    with httpx.Client(base_url=bench.app.url, timeout=PATIENCE) as visitor:
        config = visitor.get("/config").json()
        functions = [each for each in config["dependencies"] if each["backend_fn"] and each["inputs"]]
        by_queue = {
            queued: next(f for f in functions if (f["queue"] is not False) is queued) for queued in (True, False)
        }
        began, done = time.monotonic(), threading.Event()
        with meanwhile(0.05, pulse.look):
            for number in range(count):
                function = by_queue[number // len(SHAPES) % 2 == 1]
                data = ["null"] * len(function["inputs"])
                data[-1] = SHAPES[number % len(SHAPES)]()
                inside = f'"fn_index": {function["id"]}, "session_hash": "nested{number}", "data": [{",".join(data)}]'
                path = "/gradio_api/queue/join" if function["queue"] is not False else "/gradio_api/run/predict"
                headers = {"Content-Type": "application/json"}
                said = visitor.post(path, content=f"{{{inside}}}", headers=headers)
                statuses[said.status_code] += 1
                done.wait(max(0.0, began + (number + 1) * SECONDS_APART - time.monotonic()))
    yield Row(
        5,
        f"Bodies of up to {SIZE // 1000} KB of lists and objects within each other, one a second, over the queue and "
        f"beside it; meanwhile is it alive? Asked twenty times a second",
        count,
        f"{statuses[413]} refused before they were parsed, {count - statuses[413]} afterwards or answered (statuses "
        f"{dict(statuses)}); {len(pulse.took)} times alive within {1000 * pulse.percentile(50):.0f} ms (median), "
        f"{1000 * pulse.percentile(99):.0f} ms (p99), {1000 * max(pulse.took):.0f} ms (longest); before, with nobody "
        f"there, {1000 * quiet.percentile(99):.0f} ms (p99).",
        max(statuses) < 500 and statuses[413] > 0 and pulse.percentile(99) < PROMISED,
    )


CHECKS: Checks = {5: (nesting,)}
