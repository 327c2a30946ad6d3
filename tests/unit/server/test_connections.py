"""Connections on which no request comes."""

import asyncio
import contextlib
import threading

import httpx
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from src.server import connections
from tests.support.asgi import connected, serving


def test_headers_that_do_not_come_are_not_waited_for() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(2)
        await PlainTextResponse("held")(scope, receive, send)

    with serving(slow) as (url, server):

        async def closing() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(6):
                    opened = connections.Connections(lambda: server.server_state.connections, patience=0.5)
                    await opened.close_idle()

        loop = threading.Thread(target=lambda: asyncio.run(closing()))
        loop.start()
        for begun in (b"", b"GET / HTTP/1.1\r\nHost:"):
            with connected(url) as line:
                line.sendall(begun)
                with contextlib.suppress(ConnectionResetError):
                    assert line.recv(99) == b""
        assert httpx.get(url).text == "held", "an answer in work is waited for"
        loop.join()
