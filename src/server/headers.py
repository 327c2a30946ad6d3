"""Security headers: added to every answer, and removed from requests."""

import random
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FRAMED_BY: Final = "'self' https://huggingface.co https://*.hf.space"

# Gradio's page has its configuration in an inline script, and its client compiles every `js=` at run time. All text
# that we write into the page is escaped, and the page can load from and send to this server only.
PAGE: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    f"frame-ancestors {FRAMED_BY}"
)
FILE: Final = f"default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors {FRAMED_BY}"
"""For uploads and files made from them: opened in a browser, they run nothing."""

UNCACHED: Final = frozenset({"/", "/config", "/gradio_api/info"})
"""Pages that no cache may keep, because they change with the version of the app. Visitors' files are not
kept either."""

SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), display-capture=(), usb=(), payment=()",
}

RETRY_AFTER: Final = range(5, 15)
"""Seconds of Retry-After for Gradio's own 503, chosen at random. With the same number, all visitors would come back at
once and be refused again.
"""


class Headers:
    """ASGI middleware around all others, so that every answer has these headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        policy = FILE if scope["path"].startswith("/gradio_api/file=") else PAGE
        # Gradio would build its addresses from it, although any visitor can send it.
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"x-forwarded-host"]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                # Gradio allows any Origin, with credentials. The page has the server's own origin and needs none.
                for name in [name for name in headers if name.lower().startswith("access-control-")]:
                    del headers[name]
                if policy is FILE or scope["path"] in UNCACHED:
                    headers["Cache-Control"] = "no-store"
                headers.update({**SECURITY_HEADERS, "Content-Security-Policy": policy})
                if message["status"] == 503:
                    headers.setdefault("Retry-After", str(random.choice(RETRY_AFTER)))
            await send(message)

        await self.app(scope, receive, send_with_headers)
