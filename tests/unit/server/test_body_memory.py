"""src/server/body_memory.py: the bodies of open requests are limited per visitor and in total."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from src.server.body_memory import TOO_MUCH, TOO_MUCH_OF_YOURS, BodyMemory
from src.server.refusal import UPLOAD
from src.server.routes import JOIN
from tests.support.asgi import serving


def test_the_bodies_of_open_requests_are_limited() -> None:
    released = threading.Event()

    async def hold(scope: Scope, receive: Receive, send: Send) -> None:
        size = len(await Request(scope, receive).body())
        while scope["path"] == JOIN and not released.is_set():
            await asyncio.sleep(0.01)
        await PlainTextResponse(str(size))(scope, receive, send)

    limited = BodyMemory(hold, most=400_000)
    with serving(limited) as (url, _), ThreadPoolExecutor(4) as pool:

        def post(visitor: str, size: int, path: str = "/") -> httpx.Response:
            return httpx.post(url + path, content=b" " * size, headers={"visitor": visitor}, timeout=20)

        waiting = [pool.submit(post, visitor, 95_000, JOIN) for visitor in "abcd"]
        while limited.held.total() < 380_000:
            time.sleep(0.01)
        said = post("a", 30_000)
        assert (said.status_code, said.json()["detail"]) == (429, TOO_MUCH_OF_YOURS.sentence)
        said = post("e", 30_000)
        assert (said.status_code, said.json()["detail"]) == (503, TOO_MUCH.sentence)
        assert post("e", 5_000).text == "5000"
        assert post("a", 500_000, UPLOAD).text == "500000"
        released.set()
        assert [one.result().text for one in waiting] == ["95000"] * 4
        assert post("a", 90_000).text == "90000"
    assert not limited.held
