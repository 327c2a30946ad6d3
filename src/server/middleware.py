"""Puts all of src/server around a Gradio app."""

import asyncio
import gc
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import gradio as gr
from gradio.routes import App
from starlette.types import ASGIApp, Receive, Scope, Send

from src.fair_queue import Turns
from src.server import errors
from src.server.admission import Admission
from src.server.bodies import Bodies
from src.server.calls import Calls, FileArguments
from src.server.connections import Connections, most_connections, most_requests
from src.server.disk import Claim, Disk, Room
from src.server.errors import Errors
from src.server.headers import Headers
from src.server.held import Held
from src.server.hosts import AllowedHosts, Hosts
from src.server.rate_limit import Allowed, RateLimits, Visitors
from src.server.routes import Routes
from src.server.sessions import Sessions


def app_kwargs(claimed: Claim, turns: Turns) -> dict[str, Any]:
    """What launch() is given as `app_kwargs`, for an app whose uploads lie in what was claimed and whose work is done
    in these turns. Raises SettingRefused where the environment's limits are none."""
    allowed, hosts = Allowed.from_environment(), AllowedHosts.from_environment()

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        disk = Disk(claimed)
        app.state_holder = Sessions()
        app.state_holder.set_blocks(app.get_blocks())
        # Not by `middleware`: Gradio puts its own around what is named there, and the last resort for errors stands
        # around those, so that nothing could be added to, or taken off, their answers.
        assert app.middleware_stack
        most = most_connections()
        held = most_requests(most)
        app.middleware_stack = guarded(app.middleware_stack, app.get_blocks(), disk, allowed, hosts, turns, held)
        # Else Python looks through all that was loaded every now and then, for nearly a second in which nothing is
        # answered: a crowd of values in a request can bring that about.
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
    app: ASGIApp, page: gr.Blocks, disk: Disk, allowed: Allowed, hosts: AllowedHosts, turns: Turns, held: int
) -> ASGIApp:
    """`app`, which serves `page`, with everything in front that a request has to pass, in this order; at most `held`
    requests pass at once."""
    endpoints = {str(function.api_name) for function in page.fns.values()}
    files = FileArguments.of(page)
    # Bodies and Calls before Admission and Room: a refused request takes no place in the queue and no disk space.
    limits = RateLimits(allowed)
    limited = Held(Bodies(Calls(Admission(Room(app, disk), turns), files, limits)), held)
    inside = Headers(Errors(Hosts(Routes(Visitors(limited, limits), endpoints, disk.claimed.here), hosts)))

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await inside(scope, receive, send)
        else:  # Gradio speaks by HTTP alone
            await send({"type": "websocket.close", "code": 1008})

    return serve


def connections(app: App) -> Collection[Any]:
    """The open connections of a launched app; none before it has started."""
    server = getattr(app.get_blocks(), "server", None)
    return server.server_state.connections if server else ()


def addresses(page: gr.Blocks) -> set[tuple[str, int]]:
    """Where a launched page is served, by address and port; nowhere before it has started."""
    server = getattr(page, "server", None)
    return {socket.getsockname()[:2] for each in server.servers for socket in each.sockets} if server else set()
