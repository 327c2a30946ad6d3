"""Errors: if Gradio fails or does not understand a request, the answer is one sentence, without a traceback."""

import logging
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.server.refusal import Refusal, answer
from src.server.routes import CALLED, RUN

FAILED: Final = Refusal(500, "Something went wrong on the server; try again in a moment.")
NOT_UNDERSTOOD: Final = Refusal(400, "The API does not describe such a request.")

log = logging.getLogger(__name__)


def _failed(_: Request, __: Exception) -> Response:
    return JSONResponse({"detail": FAILED.sentence}, FAILED.status)


def _not_understood(_: Request, __: Exception) -> Response:
    # FastAPI's own answer would repeat the whole request.
    return JSONResponse({"detail": NOT_UNDERSTOOD.sentence}, NOT_UNDERSTOOD.status)


def _wrong_arguments(request: Request, error: Exception) -> Response:
    # Gradio raises a TypeError where a call by plain HTTP lacks an argument, or names one that does not exist.
    if CALLED.match(request.url.path):
        return _not_understood(request, error)
    raise error


HANDLERS: Final[dict[Any, Any]] = {
    Exception: _failed,
    RequestValidationError: _not_understood,
    TypeError: _wrong_arguments,
}
"""FastAPI's `exception_handlers`."""


class Errors:
    """ASGI middleware that completes an answer which Gradio breaks off, and logs unexpected exceptions."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = unfinished = False

        async def note(message: Message) -> None:
            nonlocal started, unfinished
            started = True
            # Gradio answers 500 where a function of ours refuses an argument. src/page/blocks.py logs real failures.
            if message.get("status") == FAILED.status and scope["path"].startswith(RUN):
                message["status"] = NOT_UNDERSTOOD.status
            unfinished = message["type"] == "http.response.start" or message.get("more_body", False)
            await send(message)

        try:
            await self.app(scope, receive, note)
        except ClientDisconnect:
            return  # the visitor has left
        except Exception as error:
            if not started:
                await answer(FAILED, scope, receive, send)
            # A second request for an event stream, or one for an unknown stream, ends so after it has begun.
            if not isinstance(error.__cause__, HTTPException):
                log.exception("An answer failed")
        if unfinished:
            await send({"type": "http.response.body", "body": b""})
