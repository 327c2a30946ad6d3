"""JSON that parsers take and no client sends: half surrogate pairs, and functions that do not exist (section 4)."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import httpx

from src.server.routes import JOIN, RUN
from tests.attack.arguments import TRACES
from tests.attack.bench import Bench, Checks
from tests.attack.row import Row
from tests.attack.server import PATIENCE

HALF: Final = "a\ud800b"
MCP: Final = "/gradio_api/mcp/"
NUMBERS: Final[tuple[object, ...]] = (-1, -(10**9), 10**6, 10**30, 0.5, 1e300, True, "0", "", [], {}, [0], {"a": 0})
MCP_HEADERS: Final = {"Accept": "application/json, text/event-stream"}


def requests(browser_only: int) -> Iterator[tuple[str, Any]]:
    """Paths and bodies. `browser_only` is the number of a function that only the browser runs."""
    join = {"fn_index": 0, "data": [], "session_hash": "odd"}
    tool = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "skin", "arguments": {}}}
    for path in (JOIN, RUN + "predict", RUN + "skin"):
        for field in ("data", "session_hash", "event_data", "trigger_id", "simple_format", "batched", "request"):
            yield path, join | {field: HALF}
            yield path, join | {field: [HALF]}
            yield path, join | {field: {HALF: 1}}
        for number in (*NUMBERS, browser_only):
            yield path, join | {"fn_index": number}
    for path in ("/gradio_api/call/skin", "/gradio_api/call/v2/skin", "/gradio_api/cancel", "/gradio_api/reset"):
        for body in ({"data": [HALF]}, {"data": HALF}, {HALF: 1}, [HALF], HALF, {"event_id": HALF, "x": HALF}):
            yield path, body
    for field in ("jsonrpc", "id", "method", "params"):
        yield MCP, tool | {field: HALF}
        yield MCP, tool | {field: {HALF: HALF}}
    for params in ({"name": HALF}, {"name": "skin", "arguments": {HALF: 1}}, {"name": "skin", "arguments": [HALF]}):
        yield MCP, tool | {"params": params}
        yield MCP, [tool | {"params": params}]


def odd_json(bench: Bench) -> Iterator[Row]:
    """Send each of them; check the answer and the log."""
    statuses: Counter[int] = Counter()
    wrong: list[str] = []
    logged = bench.app.log.stat().st_size
    with httpx.Client(base_url=bench.app.url, timeout=PATIENCE) as visitor:
        functions = visitor.get("/config").json()["dependencies"]
        browser_only = next(each["id"] for each in functions if not each["backend_fn"])
        for path, body in requests(browser_only):
            content = json.dumps(body)
            answer = visitor.post(path, content=content, headers={"Content-Type": "application/json", **MCP_HEADERS})
            statuses[answer.status_code] += 1
            if answer.status_code >= 500 or not answer.content or any(trace in answer.text for trace in TRACES):
                wrong.append(f"{path} {content[:60]}: {answer.status_code}")
    traces = bench.app.log.read_bytes()[logged:].count(b"Traceback")
    yield Row(
        4,
        "Halves of surrogate pairs in every part of a call, and functions that do not exist or that only the browser "
        "runs; over queue/join, call/, call/v2/, run/, cancel, reset, MCP",
        statuses.total(),
        f"Statuses {dict(sorted(statuses.items()))}; {len(wrong)} of 500, empty or with a trace "
        f"({'; '.join(wrong[:5]) or 'none'}); {traces} traces in the log.",
        not wrong and not traces,
    )


CHECKS: Checks = {4: (odd_json,)}
