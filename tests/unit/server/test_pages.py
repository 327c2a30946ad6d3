"""src/server/pages.py: the page is written for one request at a time, and visitors take turns."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from src.server.pages import Pages


async def nothing() -> Message:
    return {"type": "http.disconnect"}


def test_one_page_at_a_time_and_each_visitor_in_turn() -> None:
    begun: list[str] = []
    at_once = most = 0

    async def write(scope: Scope, _: Receive, send: Send) -> None:
        nonlocal at_once, most
        begun.append(scope["visitor"])
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.001)
        at_once -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def run() -> None:
        pages = Pages(write)

        async def take(_: MutableMapping[str, Any]) -> None:
            pass

        def get(visitor: str, path: str = "/") -> asyncio.Task[None]:
            return asyncio.create_task(pages({"type": "http", "path": path, "visitor": visitor}, nothing, take))

        greedy = [get("greedy") for _ in range(20)]
        await asyncio.sleep(0)
        await get("other", "/config")
        assert begun.index("other") <= 2
        assert most == 1
        await asyncio.gather(*greedy)
        begun.clear()
        await asyncio.gather(*(get("greedy", "/theme.css") for _ in range(5)))
        assert most == 5

    asyncio.run(run())


def test_a_visitor_who_does_not_receive_keeps_nobody_waiting() -> None:
    async def write(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})

    async def run() -> None:
        pages = Pages(write)
        received: list[Message] = []

        async def never(_: Message) -> None:
            await asyncio.Event().wait()

        async def take(message: Message) -> None:
            received.append(message)

        stuck = asyncio.create_task(pages({"type": "http", "path": "/", "visitor": "stuck"}, nothing, never))
        await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            await pages({"type": "http", "path": "/", "visitor": "other"}, nothing, take)
            await pages({"type": "http", "path": "/", "visitor": "stuck"}, nothing, take)
        assert [message.get("body") for message in received] == [None, b"page"] * 2
        stuck.cancel()

    asyncio.run(run())
