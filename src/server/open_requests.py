"""Open requests: a limit per visitor, a limit for all visitors, and an end for idle requests.

A shown page keeps two requests open: a heartbeat, and the event stream of its calls.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.server.rate_limit import visitor_of
from src.server.refusal import Refusal, answer

IDLE_SECONDS: Final = 120.0
"""A request that has carried only heartbeats for this long is ended. All work takes less, including its wait."""
PAGE_IDLE_SECONDS: Final = 3600.0
"""The same for the heartbeat of a page, which carries nothing else. The page's files are kept as long. The page then
opens another heartbeat.
"""

HEARTBEAT: Final = "/gradio_api/heartbeat/"
HEARTBEATS: Final = (b"heartbeat", b"data: ALIVE", b": ping")
"""The marks of the three kinds of heartbeat: the page's, an event stream's, MCP's."""
HEARTBEAT_BYTES: Final = 200
"""The largest length of a heartbeat."""

TOO_MANY_OF_YOURS: Final = Refusal(429, "You have too many connections open; close some, then try again.", 10)
TOO_MANY: Final = Refusal(503, "Too many people have this page open; try again in a moment.", 10)


class OpenRequests:
    """ASGI middleware that lets at most `most` requests be open at once, half of them by one visitor. It ends a request
    that is idle for `idle_seconds`."""

    def __init__(
        self, app: ASGIApp, most: int, idle_seconds: float = IDLE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.app, self.most, self.share, self.idle_seconds = app, most, max(1, most // 2), idle_seconds
        self.open: Counter[str] = Counter()
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        visitor = visitor_of(scope)
        refusal = (
            TOO_MANY_OF_YOURS
            if self.open[visitor] >= self.share
            else TOO_MANY
            if self.open.total() >= self.most
            else None
        )
        if refusal:
            await answer(refusal, scope, receive, send)
            return
        self.open[visitor] += 1
        try:
            of_a_page = scope["path"].startswith(HEARTBEAT)
            activity = _Activity(max(self.idle_seconds, PAGE_IDLE_SECONDS if of_a_page else 0), self._clock)
            await self.app(scope, activity.receiving(receive), activity.sending(send))
        finally:
            self.open[visitor] -= 1
            if not self.open[visitor]:
                del self.open[visitor]


class _Activity:
    """The time of the last message of one request. To the app, the end of an idle request looks like a visitor who
    left.
    """

    def __init__(self, idle_seconds: float, clock: Callable[[], float]) -> None:
        self._idle_seconds, self._clock = idle_seconds, clock
        self._last = clock()

    def receiving(self, receive: Receive) -> Receive:
        async def received() -> Message:
            message = asyncio.ensure_future(receive())
            try:
                while (left := self._last + self._idle_seconds - self._clock()) > 0:
                    done, _ = await asyncio.wait({message}, timeout=left)
                    if done:
                        self._last = self._clock()
                        return message.result()
                return {"type": "http.disconnect"}
            finally:
                message.cancel()

        return received

    def sending(self, send: Send) -> Send:
        async def sent(message: Message) -> None:
            body = message.get("body", b"")
            if len(body) > HEARTBEAT_BYTES or (body and not any(beat in body for beat in HEARTBEATS)):
                self._last = self._clock()
            await send(message)

        return sent
