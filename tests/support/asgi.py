"""Small ASGI apps under uvicorn on loopback."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import uvicorn
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class Took:
    """An app that reads the whole body of a request and answers its length. It stores the last body and the number of
    requests."""

    def __init__(self) -> None:
        self.size = self.asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        self.size = 0
        async for chunk in Request(scope, receive).stream():
            self.size += len(chunk)
        await PlainTextResponse(str(self.size))(scope, receive, send)


@contextlib.contextmanager
def serving(app: ASGIApp) -> Iterator[tuple[str, uvicorn.Server]]:
    """`app` on loopback, under uvicorn with the settings of Gradio and of src/server/environment.py.

    The header "visitor" names the visitor, whom Visitors names in the server itself.
    """

    async def named(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "visitor" not in scope:
            scope["visitor"] = Headers(scope=scope).get("visitor", "127.0.0.1")
        await app(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(named, port=0, log_level="error", lifespan="off", forwarded_allow_ips=""))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", server
    finally:
        server.should_exit = True
        thread.join()


def chunks(size: int) -> Iterator[bytes]:
    """A body without a Content-Length."""
    for _ in range(size // 10_000):
        yield b"x" * 10_000


def connected(url: str) -> socket.socket:
    address = httpx.URL(url)
    return socket.create_connection((address.host, address.port or 80), timeout=20)
