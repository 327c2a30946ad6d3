"""src/server/open_requests.py: limits per visitor and in total, and an end for idle requests."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from limits import parse
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from src.server import open_requests
from src.server.errors import Errors
from src.server.open_requests import OpenRequests
from src.server.rate_limit import Allowed, RateLimits, Visitors
from tests.support.asgi import serving

FREE = RateLimits(Allowed(parse("1000/day"), parse("1000/day"), 1))


async def beating(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that answers each request with a heartbeat every fifth of a second, without end."""

    async def beats() -> AsyncIterator[bytes]:
        while True:
            yield b"data: ALIVE\n\n"
            await asyncio.sleep(0.2)

    await StreamingResponse(beats(), media_type="text/event-stream")(scope, receive, send)


def of(who: str) -> dict[str, str]:
    return {"X-Forwarded-For": who}


def test_a_visitor_may_hold_so_many_and_all_so_many() -> None:
    app = OpenRequests(beating, most=4, idle_seconds=60)
    with serving(Errors(Visitors(app, FREE))) as (url, _), contextlib.ExitStack() as stack:
        http = stack.enter_context(httpx.Client(base_url=url))

        def status(who: str) -> int:
            answer = stack.enter_context(http.stream("GET", "/", headers=of(who)))
            return answer.status_code

        statuses = [status("203.0.113.1") for _ in range(3)]
        assert statuses == [200, 200, open_requests.TOO_MANY_OF_YOURS.status]
        statuses = [status(f"203.0.113.{i}") for i in range(2, 5)]
        assert statuses == [200, 200, open_requests.TOO_MANY.status]
        stack.close()
        until = time.monotonic() + 10
        while app.open and time.monotonic() < until:
            time.sleep(0.05)
        assert not app.open, "who leaves holds nothing"


def test_a_stream_of_heartbeats_alone_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_requests, "PAGE_IDLE_SECONDS", 60)
    with serving(Errors(Visitors(OpenRequests(beating, most=4, idle_seconds=0.7), FREE))) as (url, _):
        began = time.monotonic()
        assert httpx.get(f"{url}/gradio_api/queue/data").text.startswith("data: ALIVE")
        assert 0.7 <= time.monotonic() - began < 10
        with httpx.stream("GET", f"{url}/gradio_api/heartbeat/x", timeout=5) as answer:
            assert sum(1 for _, beat in zip(range(8), answer.iter_lines(), strict=False) if beat) >= 4


def test_a_stream_that_says_something_goes_on() -> None:
    async def talking(scope: Scope, receive: Receive, send: Send) -> None:
        async def words() -> AsyncIterator[bytes]:
            for _ in range(8):
                yield b'data: {"msg": "progress"}\n\n'
                await asyncio.sleep(0.2)

        await StreamingResponse(words())(scope, receive, send)

    with serving(Errors(Visitors(OpenRequests(talking, most=4, idle_seconds=0.7), FREE))) as (url, _):
        assert httpx.get(url).text.count("progress") == 8
