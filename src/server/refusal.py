"""A request that is not let through: its status and one sentence, as page and gradio_client read it."""

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Final

from starlette.types import Receive, Scope, Send

LINGER: Final = 0.3
"""Seconds in which what still comes of a refused body is read and dropped: closed at once, the connection would be
reset, and many a client would report that instead of our sentence."""

UPLOAD: Final = "/gradio_api/upload"


@dataclass(frozen=True)
class Refusal:
    """`after` is how many seconds to wait before another try; None where trying again does not help."""

    status: int
    sentence: str
    after: int | None = None


async def answer(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the refusal and close the connection."""
    # The page shows an upload's answer as it stands and reads every other's `detail`; so does FastAPI write them.
    plain = scope["path"] == UPLOAD
    body = refusal.sentence if plain else json.dumps({"detail": refusal.sentence})
    headers = [
        (b"content-type", b"text/plain; charset=utf-8" if plain else b"application/json"),
        (b"content-length", str(len(body.encode())).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    if refusal.after is not None:
        headers.append((b"retry-after", str(refusal.after).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode(), "more_body": True})
    await _linger(receive)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _linger(receive: Receive) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER):
            while (await receive()).get("more_body", False):
                pass
