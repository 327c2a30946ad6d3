"""The pages that hold the whole configuration are written one at a time, and visitors take turns.

Gradio writes each of them in a thread, in 50 to 100 ms. Twenty at once keep the event loop from its turn for seconds,
and nobody gets an answer in that time. A page has about a megabyte, so it is sent compressed.
"""

import asyncio
import zlib
from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.server.languages import language_of
from src.server.rate_limit import visitor_of
from src.server.routes import PAGES

LEVEL: Final = 1
"""Of zlib: a sixth of the bytes for 13 ms; level 6 takes five times as long for an eighth."""


class Pages:
    """ASGI middleware that lets `app` write one of PAGES at a time.

    A visitor who asks for several has only one of them in the queue. `prepare` is called before each page, with the
    code of the visitor's language.
    """

    def __init__(self, app: ASGIApp, prepare: Callable[[str], None] | None = None) -> None:
        self.app, self.prepare = app, prepare
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
            if self.prepare is not None:
                self.prepare(language_of(scope))
            await self.app(scope, receive, keep)
            if _takes_gzip(Headers(scope=scope)):
                written = await _compressed(written)
        # Sent without the locks, because a visitor may receive slowly or not at all.
        for message in written:
            await send(message)


def _takes_gzip(headers: Headers) -> bool:
    """Whether the visitor's Accept-Encoding names gzip without refusing it (RFC 9110, 12.5.3)."""
    for coding in ",".join(headers.getlist("accept-encoding")).split(","):
        name, *parameters = (each.strip().lower() for each in coding.split(";"))
        if name == "gzip":
            quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
            return bool(quality.strip("0."))
    return False


async def _compressed(messages: list[Message]) -> list[Message]:
    """A whole answer, compressed. An answer without a body, or in another coding, stays as it is."""
    body = b"".join(message.get("body", b"") for message in messages)
    start = messages[0] if messages else {}
    if not body or "content-encoding" in Headers(raw=start["headers"]):
        return messages
    compressor = zlib.compressobj(LEVEL, wbits=zlib.MAX_WBITS | 16)  # 16: as gzip
    # In a thread, because the event loop would stand still; zlib lets other threads run.
    packed = await asyncio.to_thread(lambda: compressor.compress(body) + compressor.flush())
    start = {**start, "headers": list(start["headers"])}
    headers = MutableHeaders(scope=start)
    headers["Content-Encoding"], headers["Content-Length"] = "gzip", str(len(packed))
    headers.add_vary_header("Accept-Encoding")
    return [start, {"type": "http.response.body", "body": packed}]
