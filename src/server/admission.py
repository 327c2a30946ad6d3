"""Admission: a call by plain HTTP is refused at once if its turn would come too late.

The page, gradio_client and MCP call through the queue, which answers with events. They get the same refusal as an event
(src/service/worker_pool.py), because they would show a status 503 as "Queue is full", without the seconds to wait.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from src.fair_queue import TOO_BUSY, Late, Turns
from src.server.rate_limit import visitor_of
from src.server.refusal import Refusal, answer
from src.server.routes import CALLED


class Admission:
    """ASGI middleware that refuses such a call with 503 and Retry-After. It admits every call that reads no image.

    Calls (src/server/calls.py) must come before it.
    """

    def __init__(self, app: ASGIApp, turns: Turns) -> None:
        self.app = app
        self.turns = turns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST" and CALLED.match(scope["path"]) and scope["reads_image"]:
            try:
                self.turns.let_in(visitor_of(scope))
            except Late as late:
                await answer(Refusal(503, TOO_BUSY.format(after=late.after), late.after), scope, receive, send)
                return
        await self.app(scope, receive, send)
