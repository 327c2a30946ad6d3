"""A refused request: its status and one sentence, in the form that page and gradio_client show."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER: Final = 0.3
"""Seconds in which the rest of a refused body is read and dropped. Closing the connection at once would reset it, and
many clients would show that instead of our sentence.
"""

UPLOAD: Final = "/gradio_api/upload"
TRANSLATE: Final = "vigil.translate"
"""The key of a scope under which a function translates a sentence for the visitor."""


@dataclass(frozen=True)
class Refusal:
    """A refusal with an HTTP status. `after`: the seconds to wait before another try; None if another try does not
    help.
    """

    status: int
    sentence: str
    after: int | None = None


async def answer(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the refusal and close the connection.

    The sentence is in the visitor's language if a page of this server asks, and in English for the API. Browsers say
    which it is (Fetch Metadata, https://www.w3.org/TR/fetch-metadata/).
    """
    from_page = Headers(scope=scope).get("sec-fetch-site") == "same-origin"
    sentence = scope[TRANSLATE](refusal.sentence) if from_page and TRANSLATE in scope else refusal.sentence
    # The page shows the answer to an upload as plain text. Of any other answer it shows `detail`, as FastAPI writes it.
    plain = scope["path"] == UPLOAD
    body = sentence if plain else json.dumps({"detail": sentence})
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


async def call(
    app: ASGIApp, scope: Scope, limited: Receive, receive: Receive, send: Send, refused: Callable[[], Refusal | None]
) -> None:
    """Call `app` with a body that `limited` may cut off. To the app, that must look like a visitor who left.

    If the body was cut off, `refused` returns the refusal. It is sent, unless the app's answer has begun. `receive`
    returns the rest of the body.
    """
    started = False

    async def pass_on(message: Message) -> None:
        nonlocal started
        if refused() is None or started:  # an answer that has begun cannot be replaced
            started = True
            await send(message)

    try:
        await app(scope, limited, pass_on)
    except Exception:
        # After the body was cut off, the app may raise anything; the refusal says why.
        if refused() is None:
            raise
    refusal = refused()
    if refusal is not None and not started:
        await answer(refusal, scope, receive, send)


async def _linger(receive: Receive) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER):
            while (await receive()).get("more_body", False):
                pass
