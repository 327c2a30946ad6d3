"""The pages that hold the whole configuration are written one at a time, and visitors take turns.

Gradio writes each of them in a thread, in 50 to 100 ms. Twenty at once keep the event loop from its turn for seconds,
and nobody gets an answer in that time. A page has about a megabyte, so it is sent compressed.
"""

import asyncio
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Final
from weakref import WeakValueDictionary

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.server.languages import language_of
from src.server.rate_limit import visitor_of
from src.server.routes import PAGES

LEVEL: Final = 1
"""Of zlib: a sixth of the bytes for 13 ms; level 6 takes five times as long for an eighth."""

BODY: Final = re.compile(rb"</head>\s*<body\b[^>]*>")


class Pages:
    """ASGI middleware that lets `app` write one of PAGES at a time.

    A visitor who asks for several has only one of them in the queue. `begin` is called before each page, with the code
    of the visitor's language, and returns the HTML that the page's body begins with.
    """

    def __init__(self, app: ASGIApp, begin: Callable[[str], str] | None = None) -> None:
        self.app, self.begin = app, begin
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
            beginning = "" if self.begin is None else self.begin(language_of(scope))
            await self.app(scope, receive, keep)
            if beginning:
                written = _begun(written, beginning.encode())
            if _takes_gzip(Headers(scope=scope)):
                written = await _compressed(written)
        # Sent without the locks, because a visitor may receive slowly or not at all.
        for message in written:
            await send(message)


def _begun(messages: list[Message], beginning: bytes) -> list[Message]:
    """A whole answer whose body element begins with this HTML. Any answer but a page stays as it is."""
    body = b"".join(message.get("body", b"") for message in messages)
    opening = BODY.search(body)
    if opening is None or not Headers(raw=messages[0]["headers"]).get("content-type", "").startswith("text/html"):
        return messages
    body = body[: opening.end()] + beginning + body[opening.end() :]
    return [
        _with_headers(messages[0], {"Content-Length": str(len(body))}),
        {"type": "http.response.body", "body": body},
    ]


def _with_headers(start: Message, changed: Mapping[str, str]) -> Message:
    """The start of an answer with other values of these headers."""
    start = {**start, "headers": list(start["headers"])}
    MutableHeaders(scope=start).update(changed)
    return start


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
    start = _with_headers(start, {"Content-Encoding": "gzip", "Content-Length": str(len(packed))})
    MutableHeaders(scope=start).add_vary_header("Accept-Encoding")
    return [start, {"type": "http.response.body", "body": packed}]
