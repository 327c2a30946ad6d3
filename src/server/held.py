"""Requests that are held open: how many one visitor may have at once, and all together, and for how long in silence.

The page holds two open for as long as it is shown: a heartbeat, and the stream of what it asked.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.server.rate_limit import visitor_of
from src.server.refusal import Refusal, answer

SILENCE: Final = 120.0
"""Seconds in which nothing but heartbeats was sent; longer than any work takes, its wait included."""
SHOWN: Final = 3600.0
"""The same for the heartbeat of a page, which sends nothing else: as long as what the page has is kept here. Page and
client begin another."""

HEARTBEAT: Final = "/gradio_api/heartbeat/"
BEATS: Final = (b"heartbeat", b"data: ALIVE", b": ping")
"""What is in a heartbeat: the page's, an event stream's, MCP's."""
SHORT: Final = 200
"""Bytes that a heartbeat has at most."""

YOURS: Final = Refusal(429, "You have too many connections open; close some, then try again.", 10)
EVERYBODYS: Final = Refusal(503, "Very many people have the page open just now; try again in a moment.", 10)


class Held:
    """ASGI middleware that lets at most `most` requests be open at once, half of them one visitor's, and ends those
    over which nothing comes any more."""

    def __init__(
        self, app: ASGIApp, most: int, silence: float = SILENCE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.app, self.most, self.share, self.silence = app, most, max(1, most // 2), silence
        self.open: Counter[str] = Counter()
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        who = visitor_of(scope)
        refusal = YOURS if self.open[who] >= self.share else EVERYBODYS if self.open.total() >= self.most else None
        if refusal:
            await answer(refusal, scope, receive, send)
            return
        self.open[who] += 1
        try:
            heard = _Heard(
                max(self.silence, SHOWN) if scope["path"].startswith(HEARTBEAT) else self.silence, self._clock
            )
            await self.app(scope, heard.receiving(receive), heard.sending(send))
        finally:
            self.open[who] -= 1
            if not self.open[who]:
                del self.open[who]


class _Heard:
    """When something was last said over one request. To the app, silence looks like a visitor who left."""

    def __init__(self, silence: float, clock: Callable[[], float]) -> None:
        self._silence, self._clock = silence, clock
        self._last = clock()

    def receiving(self, receive: Receive) -> Receive:
        async def received() -> Message:
            message = asyncio.ensure_future(receive())
            try:
                while (left := self._last + self._silence - self._clock()) > 0:
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
            if len(body) > SHORT or (body and not any(beat in body for beat in BEATS)):
                self._last = self._clock()
            await send(message)

        return sent
