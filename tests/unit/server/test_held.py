"""Requests that are held, connections that are held, and lines of the log: so many, and no more."""

import asyncio
import contextlib
import logging
import resource
import socket
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import httpx
import pytest
import uvicorn
from limits import parse
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from src.fair_queue import TOO_BUSY, Turns
from src.page.blocks import Page
from src.server import connections, held, middleware
from src.server.admission import Admission
from src.server.calls import Calls, FileArguments
from src.server.disk import claim
from src.server.errors import Errors
from src.server.held import Held
from src.server.log import SAME, Sparing
from src.server.rate_limit import VOUCHER, Allowed, RateLimits, Visitors, visitor_of
from src.server.routes import JOIN, MOUNTED
from tests.support.asgi import connected, serving

FREE = RateLimits(Allowed(parse("1000/day"), parse("1000/day"), 1))
FILES = FileArguments({0: {0}}, {"skin": {0, "image"}, "intro": set()})


async def beating(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that answers each request with a heartbeat every fifth of a second, without end."""

    async def beats() -> AsyncIterator[bytes]:
        while True:
            yield b"data: ALIVE\n\n"
            await asyncio.sleep(0.2)

    await StreamingResponse(beats(), media_type="text/event-stream")(scope, receive, send)


async def named(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that says whose question it was asked, and in which words."""
    vouched = Request(scope).headers.get(VOUCHER.decode(), "")
    await PlainTextResponse(f"{visitor_of(scope)}|{vouched}")(scope, receive, send)


def of(who: str) -> dict[str, str]:
    return {"X-Forwarded-For": who}


def test_a_visitor_may_hold_so_many_and_all_so_many() -> None:
    app = Held(beating, most=4, silence=60)
    with serving(Errors(Visitors(app, FREE))) as (url, _), contextlib.ExitStack() as stack:
        http = stack.enter_context(httpx.Client(base_url=url))

        def status(who: str) -> int:
            answer = stack.enter_context(http.stream("GET", "/", headers=of(who)))
            return answer.status_code

        statuses = [status("203.0.113.1") for _ in range(3)]
        assert statuses == [200, 200, held.YOURS.status]
        statuses = [status(f"203.0.113.{i}") for i in range(2, 5)]
        assert statuses == [200, 200, held.EVERYBODYS.status]
        stack.close()
        until = time.monotonic() + 10
        while app.open and time.monotonic() < until:
            time.sleep(0.05)
        assert not app.open, "who leaves holds nothing"


def test_a_stream_of_heartbeats_alone_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "SHOWN", 60)
    with serving(Errors(Visitors(Held(beating, most=4, silence=0.7), FREE))) as (url, _):
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

    with serving(Errors(Visitors(Held(talking, most=4, silence=0.7), FREE))) as (url, _):
        assert httpx.get(url).text.count("progress") == 8


def test_a_call_whose_turn_would_come_too_late_is_refused_with_a_time_to_come_back() -> None:
    turns = Turns(1, patience=20, clock=lambda: 0.0)
    app = Calls(Admission(named, turns), FILES, FREE)
    image = {"data": [None], "fn_index": 0}
    with serving(Visitors(app, FREE)) as (url, _), httpx.Client() as http:
        for path in ("/gradio_api/call/skin", "/gradio_api/call/v2/skin"):
            turns._on_their_way.clear()
            answers = [http.post(url + path, headers=of("203.0.113.1"), json=image) for _ in range(40)]
            late = [answer for answer in answers if answer.status_code == 503]
            assert 0 < len(late) < 40
            after = late[-1].headers["retry-after"]
            assert int(after) >= 1
            assert late[-1].json()["detail"] == TOO_BUSY.format(after=after)
            assert http.post(url + path, headers=of("203.0.113.2"), json=image).status_code == 200, "another visitor"
        for path in (JOIN, "/gradio_api/call/intro", "/gradio_api/run/predict"):
            answer = http.post(url + path, headers=of("203.0.113.1"), json=image)
            assert answer.status_code == 200, "reads no image, or is refused by an event of the queue"
        assert http.get(url + JOIN, headers=of("203.0.113.1")).status_code == 200


def test_what_mcp_asks_on_is_its_visitors_question_and_nobody_can_forge_that() -> None:
    limits = RateLimits(Allowed(parse("3/day"), parse("1000/day"), 0))
    with serving(Visitors(Calls(named, FILES, limits), limits)) as (url, _):
        forged = {VOUCHER.decode(): "0123 203.0.113.9"}
        who, vouched = httpx.post(url + MOUNTED, headers=forged).text.split("|")
        assert who == "127.0.0.1"
        assert vouched.endswith(" 127.0.0.1")
        assert httpx.post(url + JOIN, headers=forged).text == "127.0.0.1|"
        other = vouched.replace("127.0.0.1", "203.0.113.9")
        image = {"fn_index": 0, "data": [None]}
        answers = [httpx.post(url + JOIN, headers={VOUCHER.decode(): other}, json=image) for _ in range(5)]
        assert {answer.text for answer in answers} == {"203.0.113.9|"}, "counted once, where it was asked"


def test_connections_without_a_request_make_room_for_new_ones() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # in which guard.py does the same, before the server listens
            await receive()
            opened.limit(asyncio.get_running_loop())
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await asyncio.sleep(1 if scope["path"] == "/slow" else 0)
            await PlainTextResponse("ok")(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="on"))
    opened = connections.Connections(lambda: server.server_state.connections, most=10)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        with ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as lines:
            slow = pool.submit(httpx.get, f"{url}/slow")
            time.sleep(0.2)
            waiting = [lines.enter_context(connected(url)) for _ in range(60)]
            assert httpx.get(url).text == "ok"
            assert sum(map(ended, waiting)) >= 40, "those that waited longest"
            assert slow.result().text == "ok", "what has a request is left alone"
    finally:
        server.should_exit = True
        thread.join()


def test_a_launched_page_limits_its_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio makes the server itself: an upgrade that makes it in another way fails here."""
    monkeypatch.setattr(connections, "MOST", 8)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with Page() as page:
        gr.Markdown("A page")
    kwargs = middleware.app_kwargs(claim(tmp_path), Turns(1, patience=20))
    _, url, _ = page.launch(
        prevent_thread_lock=True, server_name="127.0.0.1", quiet=True, ssr_mode=False, app_kwargs=kwargs
    )
    try:
        with contextlib.ExitStack() as lines:
            waiting = [lines.enter_context(connected(url)) for _ in range(40)]
            assert httpx.get(f"{url}healthz", timeout=60).text == "ok"
            assert sum(map(ended, waiting)) >= 40 - 8
    finally:
        page.close()


def ended(line: socket.socket) -> bool:
    """Whether the other end has closed."""
    line.settimeout(0.2)
    try:
        return line.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


def test_the_limits_follow_what_the_process_may_open(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, most in ((256, 128), (1024, 512), (2**20, connections.MOST), (-1, connections.MOST)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert connections.most_connections() == most
        assert connections.most_requests(most) < most


def test_the_log_does_not_grow_with_what_visitors_do() -> None:
    now = [0.0]
    sparing, lines = Sparing(clock=lambda: now[0]), list[str]()

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler, log = Kept(), logging.getLogger("tests.sparing")
    handler.addFilter(sparing)
    log.addHandler(handler)

    def often(number: int) -> None:
        log.error("One place %d", number)

    for number in range(1000):
        often(number)
    log.error("Another place")
    assert len(lines) == SAME + 1
    now[0] = 61
    often(1000)
    assert lines[-1] == f"One place 1000 ({1000 - SAME} more such lines were left out)"
