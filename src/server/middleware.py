"""Puts all of src/server around a Gradio app."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from gradio.routes import App
from starlette.types import ASGIApp, Receive, Scope, Send

from src.server import errors
from src.server.admission import Admission
from src.server.bodies import Bodies
from src.server.connections import Connections, most_connections, most_requests
from src.server.disk import Claim, Disk, Room
from src.server.errors import Errors
from src.server.headers import Headers
from src.server.held import Held
from src.server.rate_limit import Allowed, Visitors
from src.server.routes import Routes
from src.server.sessions import Sessions
from src.turns import Turns


def app_kwargs(claimed: Claim, turns: Turns) -> dict[str, Any]:
    """What launch() is given as `app_kwargs`, for an app whose uploads lie in what was claimed and whose work is done
    in these turns. Raises ValueError where the environment's limits are none."""
    allowed = Allowed.from_environment()

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        disk = Disk(claimed.folder)
        app.state_holder = Sessions()
        app.state_holder.set_blocks(app.get_blocks())
        # Not by `middleware`: Gradio puts its own around what is named there, and the last resort for errors stands
        # around those, so that nothing could be added to, or taken off, their answers.
        assert app.middleware_stack
        endpoints = {str(function.api_name) for function in app.get_blocks().fns.values()}
        most = most_connections()
        app.middleware_stack = guarded(app.middleware_stack, endpoints, disk, allowed, turns, most_requests(most))
        disk.start()
        opened = Connections(lambda: connections(app), most)
        opened.limit(asyncio.get_running_loop())
        closing = asyncio.create_task(opened.close_idle())
        try:
            yield
        finally:
            closing.cancel()
            disk.stop()

    return {"lifespan": lifespan, "exception_handlers": errors.HANDLERS}


def guarded(app: ASGIApp, endpoints: Collection[str], disk: Disk, allowed: Allowed, turns: Turns, held: int) -> ASGIApp:
    """`app` with everything in front that a request has to pass, in this order; at most `held` pass at once."""
    # Bodies before Room, which counts what comes to lie on the disk: what is refused does not.
    limited = Held(Admission(Bodies(Room(app, disk)), turns), held)
    inside = Headers(Errors(Routes(Visitors(limited, allowed), endpoints)))

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
