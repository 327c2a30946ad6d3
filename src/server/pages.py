"""The pages that hold the whole configuration are written one at a time, and visitors take turns.

Gradio writes each of them in a thread, in 50 to 100 ms. Twenty at once keep the event loop from its turn for seconds,
and nobody gets an answer in that time.
"""

import asyncio
from weakref import WeakValueDictionary

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.server.rate_limit import visitor_of
from src.server.routes import PAGES


class Pages:
    """ASGI middleware that lets `app` write one of PAGES at a time.

    A visitor who asks for several has only one of them in the queue.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._writing = asyncio.Lock()
        self._of_visitor: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in PAGES:
            await self.app(scope, receive, send)
            return
        written: list[Message] = []

        async def keep(message: Message) -> None:
            written.append(message)

        own = self._of_visitor.setdefault(visitor_of(scope), asyncio.Lock())
        async with own, self._writing:
            await self.app(scope, receive, keep)
        # Sent without the locks, because a visitor may receive slowly or not at all.
        for message in written:
            await send(message)
