"""Whether a question is let in: only where its turn will come in time, as src/fair_queue.py foresees it."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from src.fair_queue import TOO_BUSY, Late, Turns
from src.server.rate_limit import visitor_of
from src.server.refusal import Refusal, answer

QUESTIONS: Final = ("/gradio_api/queue/join", "/gradio_api/call/")
"""How the paths begin by which work is asked for. Over MCP Gradio asks by them itself."""


class Admission:
    """ASGI middleware that refuses a question whose turn would come too late, and says when another try will do."""

    def __init__(self, app: ASGIApp, turns: Turns) -> None:
        self.app = app
        self.turns = turns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST" and scope["path"].startswith(QUESTIONS):
            try:
                self.turns.let_in(visitor_of(scope))
            except Late as late:
                refusal = Refusal(503, TOO_BUSY.format(after=late.after), late.after)
                await answer(refusal, scope, receive, send)
                return
        await self.app(scope, receive, send)
