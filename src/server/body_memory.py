"""The memory of request bodies: a limit per visitor and a limit for all visitors.

The body of a call stays in memory until its request ends. An upload is written to the disk instead. A request may have
twelve megabytes, and a visitor may open many.
"""

from collections import Counter
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.pictures.limits import MAX_BYTES
from src.server.rate_limit import visitor_of
from src.server.refusal import UPLOAD, Refusal, call
from src.server.routes import is_slide_upload

MOST: Final = 20 * MAX_BYTES
"""Bytes of all bodies together."""

TOO_MUCH_OF_YOURS: Final = Refusal(429, "You are sending too much at once; wait for your earlier requests.", 10)
TOO_MUCH: Final = Refusal(503, "Too much is being sent at once; try again in a moment.", 10)


class BodyMemory:
    """ASGI middleware that lets the bodies of open requests, without the uploads, have `most` bytes together. One
    visitor's may have a quarter of that."""

    def __init__(self, app: ASGIApp, most: int = MOST) -> None:
        self.app, self.most, self.share = app, most, most // 4
        self.held: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == UPLOAD or is_slide_upload(scope):
            await self.app(scope, receive, send)
            return
        visitor = visitor_of(scope)
        size, refusal = 0, None

        async def counted() -> Message:
            nonlocal size, refusal
            message = await receive()
            if length := len(message.get("body", b"")):
                size += length
                self.held[visitor] += length
                refusal = refusal or self._refusal(visitor)
            return {"type": "http.disconnect"} if refusal else message

        try:
            await call(self.app, scope, counted, receive, send, lambda: refusal)
        finally:
            self.held[visitor] -= size
            if not self.held[visitor]:
                del self.held[visitor]

    def _refusal(self, visitor: str) -> Refusal | None:
        if self.held[visitor] > self.share:
            return TOO_MUCH_OF_YOURS
        return TOO_MUCH if self.held.total() > self.most else None
