"""The log: what happened here, and nothing of who was here."""

import logging
import traceback
from typing import Any


class Discreet(logging.Formatter):
    """A failure is told by its kind and its place in the code: what it says may quote the name of a visitor's file."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """As logging's, what caused it first, without any exception's message."""
        told, error = [], ei[1]
        while error is not None:
            told.append("".join([*traceback.format_tb(error.__traceback__), type(error).__name__]))
            error = error.__cause__ or error.__context__
        return "\n".join(reversed(told))


def begin() -> None:
    """Log to standard error from now on."""
    handler = logging.StreamHandler()
    handler.setFormatter(Discreet("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for chatty in ("httpx", "httpx2", "fontTools"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("mcp").setLevel(logging.ERROR)  # its warnings quote what it was asked for
