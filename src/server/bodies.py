"""Request bodies: how large they may be, of how many parts, and how long they may take to come.

Gradio limits the files of an upload, but neither its other fields nor any other body, and waits for one without end.
"""

import asyncio
import time
from typing import Final

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.pictures.decode import MAX_BYTES
from src.server.json_limits import JsonLimits
from src.server.refusal import UPLOAD, Refusal, answer

LIMIT: Final = MAX_BYTES + 2**16
"""Bytes: the largest picture that is read, and what a form around it adds."""
UNSAID: Final = 10**6
"""Bytes of a body that is no upload and does not say how large it is: what has no need to be large, and would be held
in memory, some of it several times, up to the limit."""
PARTS: Final = 256
"""Files and fields in one form."""
STALL: Final = 25.0
"""Seconds without a byte, so that with its refusal a connection is closed in 30; also what the whole may take, but for
what SLOWEST adds."""
SLOWEST: Final = 32_000
"""Bytes a second, on average: drop by drop a body could be held open for ever."""

TOO_LARGE: Final = Refusal(413, f"At most {MAX_BYTES // 10**6} MB are taken in one request.")
TOO_LARGE_UNSAID: Final = Refusal(413, f"A request of more than {UNSAID // 10**6} MB must say how large it is.")
TOO_MANY_FILES: Final = Refusal(413, f"At most {PARTS} files are taken in one request.")
TOO_SLOW: Final = Refusal(408, "The request did not arrive in time; send it again.")


class Bodies:
    """ASGI middleware that refuses a body before more than `limit` bytes of it are handed on, and one that stalls."""

    def __init__(self, app: ASGIApp, limit: int = LIMIT, parts: int = PARTS, stall: float = STALL) -> None:
        self.app = app
        self.limit, self.parts, self.stall = limit, parts, stall

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if int(headers.get("content-length", 0)) > self.limit:
            await answer(TOO_LARGE, scope, receive, send)
            return
        body = _Body(self, receive, headers, is_upload=scope["path"] == UPLOAD)
        started = False

        async def pass_on(message: Message) -> None:
            nonlocal started
            if body.refused is None or started:  # what was begun can only be broken off
                started = True
                await send(message)

        try:
            await self.app(scope, body.receive, pass_on)
        except Exception:
            # Once we have cut the body off, whatever the app raises comes of that, and the refusal says why.
            if body.refused is None:
                raise
        if body.refused is not None and not started:
            await answer(body.refused, scope, receive, send)


class _Body:
    """One request's body as it comes. To the app, a refused one looks like a visitor who left."""

    def __init__(self, limits: Bodies, receive: Receive, headers: Headers, is_upload: bool) -> None:
        self._limits, self._receive = limits, receive
        kind, options = parse_options_header(headers.get("content-type", ""))
        is_form = kind == b"multipart/form-data"
        said = "content-length" in headers
        self._limit = limits.limit if said or (is_form and is_upload) else min(limits.limit, UNSAID)
        self._limits_inside = Parts(options.get(b"boundary", b""), limits.parts) if is_form else JsonLimits()
        self._began = time.monotonic()
        self._size, self._complete = 0, False
        self.refused: Refusal | None = None

    async def receive(self) -> Message:
        if self.refused is None and not self._complete:
            try:
                async with asyncio.timeout(self._patience()):
                    message = await self._receive()
            except TimeoutError:
                self.refused = TOO_SLOW
            else:
                self._count(message.get("body", b""))
                self._complete = not message.get("more_body", False)
                if self.refused is None:
                    return message
        if self.refused is not None:
            return {"type": "http.disconnect"}
        return await self._receive()  # which waits for the visitor to leave

    def _patience(self) -> float:
        due = self._began + self._limits.stall + self._size / SLOWEST
        return max(0.0, min(self._limits.stall, due - time.monotonic()))

    def _count(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._limit:
            self.refused = TOO_LARGE if self._limit == self._limits.limit else TOO_LARGE_UNSAID
        else:
            self.refused = self._limits_inside.feed(chunk)


class Parts:
    """Counts the parts of a form."""

    def __init__(self, boundary: bytes, most: int) -> None:
        self._mark, self._most = b"--" + boundary, most
        self._tail, self._parts = b"", 0

    def feed(self, chunk: bytes) -> Refusal | None:
        """Count `chunk`; what the form is refused with, if it is."""
        seen = self._tail + chunk
        self._parts += seen.count(self._mark)
        # As much as may be the beginning of a boundary, and too little to be a whole one.
        self._tail = seen[max(0, len(seen) - len(self._mark) + 1) :]
        return TOO_MANY_FILES if self._parts > self._most else None
