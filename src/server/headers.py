"""Headers: what every answer says to the browser, and what is believed of a request's."""

import random
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FRAMED_BY: Final = "'self' https://huggingface.co https://*.hf.space"

# Gradio's page holds its configuration in an inline script, and its client makes functions of what `js=` says. All that
# we write into the page is escaped; nothing can be loaded from, or sent to, anywhere else.
PAGE: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    f"frame-ancestors {FRAMED_BY}"
)
FILE: Final = f"default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors {FRAMED_BY}"
"""For what visitors uploaded and was made from it: opened by itself, it runs nothing."""

SAID: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), display-capture=(), usb=(), payment=()",
}

RETRY_AFTER: Final = range(5, 15)
"""Seconds; for a full queue, which Gradio refuses without saying when to come back. Anyone is told one of them: all of
a crowd would come back together, find the queue full again, and leave it empty in between."""


class Headers:
    """ASGI middleware around everything else, so that no answer leaves without."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        policy = FILE if scope["path"].startswith("/gradio_api/file=") else PAGE
        # Gradio would make its addresses from it, whoever sent it.
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"x-forwarded-host"]

        async def say(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                # Gradio mirrors any Origin, with credentials. The page is its own origin and needs none of it.
                for name in [name for name in headers if name.lower().startswith("access-control-")]:
                    del headers[name]
                headers.update({**SAID, "Content-Security-Policy": policy})
                if message["status"] == 503:
                    headers.setdefault("Retry-After", str(random.choice(RETRY_AFTER)))
            await send(message)

        await self.app(scope, receive, say)
