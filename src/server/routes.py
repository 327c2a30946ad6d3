"""The open routes: /healthz, and the routes of Gradio that the page, gradio_client and MCP need.

tests/api/test_routes.py compares the list with the routes of the installed Gradio.
"""

import re
from collections.abc import Callable, Collection
from typing import Final

from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from src.server.refusal import UPLOAD, Refusal, answer

HEALTH: Final = "/healthz"
JOIN: Final = "/gradio_api/queue/join"
PROGRESS: Final = "/gradio_api/upload_progress"

OPEN: Final = frozenset(
    {
        # The page and its parts
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/config"),
        ("GET", "/theme.css"),
        ("GET", "/favicon.ico"),
        ("GET", "/manifest.json"),
        ("GET", "/robots.txt"),
        ("GET", "/assets/{path:path}"),
        ("GET", "/static/{path:path}"),
        # Files: uploads and downloads
        ("POST", UPLOAD),
        ("GET", PROGRESS),
        ("GET", "/gradio_api/file={path_or_url:path}"),
        ("HEAD", "/gradio_api/file={path_or_url:path}"),
        # Calls: by page and client, by plain HTTP, and by the page without the queue
        ("GET", "/gradio_api/info"),
        ("GET", "/gradio_api/openapi.json"),
        ("POST", JOIN),
        ("GET", "/gradio_api/queue/data"),
        ("POST", "/gradio_api/cancel"),
        ("POST", "/gradio_api/reset"),
        ("POST", "/gradio_api/call/{api_name}"),
        ("GET", "/gradio_api/call/{api_name}/{event_id}"),
        ("POST", "/gradio_api/call/v2/{api_name}"),
        ("GET", "/gradio_api/call/v2/{api_name}/{event_id}"),
        ("POST", "/gradio_api/run/{api_name}"),
        ("GET", "/gradio_api/heartbeat/{session_hash}"),
        # The number of this start of the app. A page that lost the server asks for it until it may load again.
        ("GET", "/gradio_api/app_id"),
        # launch() itself
        ("GET", "/gradio_api/startup-events"),
    }
)
"""Method and path, in Gradio's notation."""

SLIDES: Final = "/slides/"
"""The beginning of the paths of the slide viewer, which an app of our own serves."""
VIEWER: Final = f"{SLIDES}viewer.js"
"""The script of the viewer."""
SLIDE_UPLOAD: Final = f"{SLIDES}upload"
"""The path to which a slide is posted, where VIGIL_SLIDE_LIMIT allows it. No other path takes such a body."""

MOUNTED: Final = "/gradio_api/mcp"
"""The path of the MCP server, which is an app of its own."""

RUN: Final = "/gradio_api/run/"
"""The beginning of the paths by which the page calls functions without the queue."""

FILES: Final = (UPLOAD, SLIDE_UPLOAD, JOIN, "/gradio_api/call/", MOUNTED)
"""The beginnings of the paths to which a POST may write a file."""

CALLS: Final = (JOIN, "/gradio_api/call/", RUN, MOUNTED)
"""The beginnings of the paths to which calls of a function are posted."""

PAGES: Final = ("/", "/config")
"""The paths whose answers hold the whole configuration of the page."""

UNHEALTHY: Final = Refusal(503, "Nothing can be uploaded, because the upload folder is missing.")
NOT_FOUND: Final = Refusal(404, "There is nothing here.")

_OPEN = [(method, compile_path(path)[0]) for method, path in OPEN]
# For a URL in place of an absolute path, Gradio would download it for any visitor.
_ADDRESS = re.compile(r"/gradio_api/file=(?!/(?!/))")
CALLED: Final = re.compile(r"/gradio_api/call/(?P<by_name>v2/)?(?P<endpoint>[^/]*)")
"""The path of a call by plain HTTP. With `v2`, its arguments have names."""


def is_open(method: str, path: str, endpoints: Collection[str], takes_slides: bool = False) -> bool:
    """Whether a request is passed on to Gradio, which has these endpoints (named without the slash), or to the viewer.

    `takes_slides`: whether slides may be uploaded.
    """
    called = CALLED.match(path)
    # Gradio fails with a traceback on the name of an unknown endpoint.
    if _ADDRESS.match(path) or (called and called["endpoint"] not in endpoints):
        return False
    if is_mcp(path):
        return method in ("GET", "POST", "DELETE")
    if path == SLIDE_UPLOAD:
        return takes_slides and method == "POST"
    if is_slide(path):
        return method == "GET"
    return any(method == known and pattern.match(path) for known, pattern in _OPEN)


def is_slide(path: str) -> bool:
    """Whether a path belongs to the slide viewer."""
    return path.startswith(SLIDES)


def is_slide_upload(scope: Scope) -> bool:
    """Whether a request sends a slide."""
    return scope["method"] == "POST" and scope["path"] == SLIDE_UPLOAD


def is_mcp(path: str) -> bool:
    """Whether a path belongs to the MCP server."""
    return path == MOUNTED or path.startswith(f"{MOUNTED}/")


def is_call(scope: Scope) -> bool:
    """Whether a request calls a function of the page."""
    return scope["method"] == "POST" and scope["path"].startswith(CALLS)


def leaves_files(scope: Scope) -> bool:
    """Whether a request may write a file."""
    return scope["method"] == "POST" and scope["path"].startswith(FILES)


class Routes:
    """ASGI middleware that answers /healthz (by `healthy`) and upload_progress itself, and answers 404 on routes that
    are not open. `takes_slides`: whether slides may be uploaded."""

    def __init__(
        self, app: ASGIApp, endpoints: Collection[str], healthy: Callable[[], bool], takes_slides: bool = False
    ) -> None:
        self.app = app
        self.endpoints = endpoints
        self.healthy = healthy
        self.takes_slides = takes_slides

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        if path == HEALTH and method in ("GET", "HEAD"):
            if self.healthy():
                await _say(b"ok", b"text/plain", send)
            else:
                await answer(UNHEALTHY, scope, receive, send)
        elif path == PROGRESS and method == "GET":
            await _say(b'data: {"msg": "done"}\n\n', b"text/event-stream", send)
        elif is_open(method, path, self.endpoints, self.takes_slides):
            if path == UPLOAD:
                # Gradio keeps a record of the progress of every named upload for ever, so the name is removed.
                scope["query_string"] = b""
            await self.app(scope, receive, send)
        else:
            await answer(NOT_FOUND, scope, receive, send)


async def _say(body: bytes, kind: bytes, send: Send) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
