"""Limits on request bodies: their size, the parts of a form, and the time until they have arrived.

Gradio limits the files of an upload, but no other field and no other body. It waits for a body without end.
"""

import asyncio
import time
from typing import Final

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.pictures.limits import MAX_BYTES
from src.server.json_limits import JsonLimits
from src.server.refusal import UPLOAD, Refusal, answer, call
from src.server.routes import is_slide_upload

LIMIT: Final = MAX_BYTES + 2**16
"""Bytes of a body: the largest image that is read, and the form around it."""
LIMIT_WITHOUT_LENGTH: Final = 10**6
"""Bytes of a body that is no upload and has no Content-Length. Page and clients send no larger one, and Gradio keeps
several copies of it in memory."""
PARTS: Final = 256
"""Files and fields in one form."""
STALL: Final = 25.0
"""Seconds without a byte after which a body is refused; its connection is closed within 30. A whole body may take as
long, and longer by its size at the speed SLOWEST."""
SLOWEST: Final = 32_000
"""Bytes per second, on average. Without this limit, a body could arrive a few bytes at a time without end."""

TOO_LARGE: Final = Refusal(413, f"A request may have at most {MAX_BYTES // 10**6} MB.")
SLIDE_TOO_LARGE: Final = "A slide may have at most {megabytes:,} MB."
LENGTH_MISSING: Final = Refusal(
    413, f"A request of more than {LIMIT_WITHOUT_LENGTH // 10**6} MB must have a Content-Length."
)
TOO_MANY_FILES: Final = Refusal(413, f"A request may have at most {PARTS} files.")
TOO_SLOW: Final = Refusal(408, "The request did not arrive in time; send it again.")


class Bodies:
    """ASGI middleware that refuses a body of more than `limit` bytes or `parts` parts, and one that stalls for `stall`
    seconds. The app never receives more than the limit.

    `slide_limit`: the bytes of an uploaded slide, which has a path of its own; 0 where none is taken.
    """

    def __init__(
        self, app: ASGIApp, limit: int = LIMIT, parts: int = PARTS, stall: float = STALL, slide_limit: int = 0
    ) -> None:
        self.app = app
        self.limit, self.parts, self.stall, self.slide_limit = limit, parts, stall, slide_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        is_slide = self.slide_limit > 0 and is_slide_upload(scope)
        limit = self.slide_limit if is_slide else self.limit
        too_large = Refusal(413, SLIDE_TOO_LARGE.format(megabytes=limit // 10**6)) if is_slide else TOO_LARGE
        if int(headers.get("content-length", 0)) > limit:
            await answer(too_large, scope, receive, send)
            return
        body = _Body(self, receive, headers, scope["path"] == UPLOAD, limit, too_large, is_slide)
        await call(self.app, scope, body.receive, receive, send, lambda: body.refused)


class _Body:
    """The body of one request while it arrives. To the app, a refused body looks like a visitor who left."""

    def __init__(
        self,
        limits: Bodies,
        receive: Receive,
        headers: Headers,
        is_upload: bool,
        limit: int,
        too_large: Refusal,
        is_slide: bool,
    ) -> None:
        self._limits, self._receive, self._too_large = limits, receive, too_large
        kind, options = parse_options_header(headers.get("content-type", ""))
        is_form = kind == b"multipart/form-data"
        has_length = "content-length" in headers
        self._has_length = has_length or (is_form and is_upload)
        self._limit = limit if self._has_length else min(limit, LIMIT_WITHOUT_LENGTH)
        # A slide is written to the disk as it arrives, and nothing parses it.
        self._limits_inside = (
            None if is_slide else Parts(options.get(b"boundary", b""), limits.parts) if is_form else JsonLimits()
        )
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
        return await self._receive()  # returns when the visitor leaves

    def _patience(self) -> float:
        due = self._began + self._limits.stall + self._size / SLOWEST
        return max(0.0, min(self._limits.stall, due - time.monotonic()))

    def _count(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._limit:
            self.refused = self._too_large if self._has_length else LENGTH_MISSING
        elif self._limits_inside is not None:
            self.refused = self._limits_inside.feed(chunk)


class Parts:
    """Counts the parts of a form."""

    def __init__(self, boundary: bytes, most: int) -> None:
        self._mark, self._most = b"--" + boundary, most
        self._tail, self._parts = b"", 0

    def feed(self, chunk: bytes) -> Refusal | None:
        """Count `chunk`; returns the refusal of the form, if it is refused."""
        seen = self._tail + chunk
        self._parts += seen.count(self._mark)
        # The end may be the beginning of a boundary; one byte less than a boundary is kept.
        self._tail = seen[max(0, len(seen) - len(self._mark) + 1) :]
        return TOO_MANY_FILES if self._parts > self._most else None
