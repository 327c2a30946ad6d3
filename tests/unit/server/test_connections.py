"""src/server/connections.py: a limit on open connections, and an end for those without a request."""

import asyncio
import contextlib
import resource
import select
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import httpx
import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from src.fair_queue import Turns
from src.page.blocks import Page
from src.server import connections, middleware
from src.server.disk import claim
from tests.support.asgi import connected, serving


def test_headers_that_do_not_come_are_not_waited_for() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(2)
        await PlainTextResponse("held")(scope, receive, send)

    done = threading.Event()
    with serving(slow) as (url, server):

        async def closing() -> None:
            opened = connections.Connections(lambda: server.server_state.connections, patience=0.5)
            task = asyncio.ensure_future(opened.close_idle())
            while not done.is_set():
                await asyncio.sleep(0.05)
            task.cancel()

        loop = threading.Thread(target=lambda: asyncio.run(closing()))
        loop.start()
        try:
            for begun in (b"", b"GET / HTTP/1.1\r\nHost:"):
                with connected(url) as line:
                    line.sendall(begun)
                    with contextlib.suppress(ConnectionResetError):
                        assert line.recv(99) == b""
            assert httpx.get(url).text == "held", "an answer in work is waited for"
        finally:
            done.set()
            loop.join()


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
            waiting = [lines.enter_context(connected_in_turn(url)) for _ in range(30)]
            assert httpx.get(url).text == "ok"
            assert ended(waiting, 20) >= 20, "those that waited longest"
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
            waiting = [lines.enter_context(connected_in_turn(url)) for _ in range(24)]
            assert httpx.get(f"{url}healthz", timeout=60).text == "ok"
            assert ended(waiting, 24 - 8) >= 24 - 8
    finally:
        page.close()


def connected_in_turn(url: str) -> socket.socket:
    """A connection, and time for the server to accept it: the kernel tries one that does not fit into the short queue
    again only after a second, and then after two and four."""
    line = connected(url)
    time.sleep(0.02)
    return line


def ended(lines: Sequence[socket.socket], wanted: int) -> int:
    """How many of these connections the other end has closed, as soon as it is the wanted number, or after 20 s.

    On a busy machine the kernel may call a connection open that the server has not seen yet.
    """
    until = time.monotonic() + 20
    while True:
        readable, _, _ = select.select(lines, [], [], 0)
        found = sum(map(closed, readable))
        if found >= wanted or time.monotonic() > until:
            return found
        time.sleep(0.05)


def closed(line: socket.socket) -> bool:
    """Whether a connection with something to read has its end to read."""
    try:
        return line.recv(1) == b""
    except ConnectionResetError:
        return True


def test_the_limits_follow_what_the_process_may_open(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, most in ((256, 128), (1024, 512), (2**20, connections.MOST), (-1, connections.MOST)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert connections.most_connections() == most
        assert connections.most_requests(most) < most
