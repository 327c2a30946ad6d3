"""The order in which a request passes the checks of src/server before it reaches Gradio."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import gradio as gr
from gradio.routes import App
from starlette.types import ASGIApp, Receive, Scope, Send

from src.fair_queue import Turns
from src.server import errors
from src.server.admission import Admission
from src.server.bodies import Bodies
from src.server.body_memory import BodyMemory
from src.server.calls import Calls, FileArguments
from src.server.connections import Connections, most_connections, most_requests
from src.server.disk import ROOM, Claim, Disk, DiskSpace
from src.server.errors import Errors
from src.server.headers import Headers
from src.server.hosts import AllowedHosts, Hosts
from src.server.languages import Languages, language_of
from src.server.open_requests import OpenRequests
from src.server.pages import Pages
from src.server.rate_limit import Allowed, RateLimits, Visitors
from src.server.refusal import TRANSLATE
from src.server.routes import Routes, is_slide
from src.server.sessions import Sessions

Translate = Callable[[str, str], str]
"""A sentence and the code of a language -> the sentence in this language."""


def app_kwargs(
    claimed: Claim,
    turns: Turns,
    slides: ASGIApp | None = None,
    begin: Callable[[str], str] | None = None,
    slide_limit: int = 0,
    translate: Translate | None = None,
) -> dict[str, Any]:
    """The argument `app_kwargs` of launch(), for an app with uploads in the claimed folder and a queue of `turns`.

    `slides` serves the paths of the slide viewer, if there is one. `begin` is called before a page is written, with the
    code of the visitor's language, and returns the HTML that its body begins with. `slide_limit`: the bytes of an
    uploaded slide, 0 if no slide may be uploaded. `translate` translates the sentence of a refusal.

    Raises SettingRefused if a limit in the environment is invalid.
    """
    allowed, hosts = Allowed.from_environment(), AllowedHosts.from_environment()

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        # Two slides fit besides the images: a folder that is half full is swept.
        disk = Disk(claimed, room=ROOM + 2 * slide_limit)
        app.state_holder = Sessions()
        app.state_holder.set_blocks(app.get_blocks())
        # The argument `middleware` is not used: Gradio's own middleware and Starlette's handler of errors would be
        # outside ours, and their answers would lack our headers.
        assert app.middleware_stack
        most = most_connections()
        app.middleware_stack = guarded(
            _with_slides(app.middleware_stack, slides),
            app.get_blocks(),
            disk,
            allowed,
            hosts,
            turns,
            most_requests(most),
            begin,
            slide_limit,
            translate,
        )
        # Otherwise the garbage collector would sometimes visit all loaded objects. That takes nearly a second, in which
        # nobody gets an answer, and a request with many values can trigger it.
        gc.collect()
        gc.freeze()
        disk.start()
        opened = Connections(lambda: connections(app), most)
        opened.limit(asyncio.get_running_loop())
        closing = asyncio.create_task(opened.close_idle())
        try:
            yield
        finally:
            closing.cancel()
            disk.stop()
            gc.unfreeze()

    return {"lifespan": lifespan, "exception_handlers": errors.HANDLERS}


def guarded(
    app: ASGIApp,
    page: gr.Blocks,
    disk: Disk,
    allowed: Allowed,
    hosts: AllowedHosts,
    turns: Turns,
    most_open: int,
    begin: Callable[[str], str] | None = None,
    slide_limit: int = 0,
    translate: Translate | None = None,
) -> ASGIApp:
    """`app`, which serves `page`, behind all checks of a request. At most `most_open` requests may be open at once.

    `begin`, `slide_limit` and `translate`: as for app_kwargs.
    """
    endpoints = {str(function.api_name) for function in page.fns.values()}
    files = FileArguments.of(page)
    # Bodies and Calls come before Admission and DiskSpace: a refused request takes no place in the queue.
    limits = RateLimits(allowed)
    called = Calls(Admission(DiskSpace(Pages(Languages(app), begin), disk), turns), files, limits)
    limited = OpenRequests(BodyMemory(Bodies(called, slide_limit=slide_limit)), most_open)
    routes = Routes(Visitors(limited, limits), endpoints, disk.claimed.ensure_folder, slide_limit > 0)
    inside = Headers(Errors(Hosts(routes, hosts)))

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if translate is not None:
                scope[TRANSLATE] = lambda sentence: translate(sentence, language_of(scope))
            await inside(scope, receive, send)
        else:  # a websocket, which Gradio does not use
            await send({"type": "websocket.close", "code": 1008})

    return serve


def _with_slides(app: ASGIApp, slides: ASGIApp | None) -> ASGIApp:
    """`app`, and `slides` for the paths of the slide viewer."""
    if slides is None:
        return app

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await (slides if is_slide(scope["path"]) else app)(scope, receive, send)

    return serve


def connections(app: App) -> Collection[Any]:
    """The open connections of a launched app; empty before it has started."""
    server = getattr(app.get_blocks(), "server", None)
    return server.server_state.connections if server else ()


def addresses(page: gr.Blocks) -> set[tuple[str, int]]:
    """The addresses and ports on which a launched page is served; empty before it has started."""
    server = getattr(page, "server", None)
    return {socket.getsockname()[:2] for each in server.servers for socket in each.sockets} if server else set()
