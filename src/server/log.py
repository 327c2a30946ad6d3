"""The log: what happened here, and nothing of who was here."""

import logging
import time
import traceback
from collections.abc import Callable
from typing import Any, Final

SAME: Final = 20
"""Lines a minute that come of one place in the code; a visitor may be able to bring about any number."""


class Discreet(logging.Formatter):
    """A failure is told by its kind and its place in the code: what it says may quote the name of a visitor's file."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """As logging's, what caused it first, without any exception's message."""
        told, error = [], ei[1]
        while error is not None:
            told.append("".join([*traceback.format_tb(error.__traceback__), type(error).__name__]))
            error = error.__cause__ or error.__context__
        return "\n".join(reversed(told))


class Sparing(logging.Filter):
    """Lets through SAME lines a minute of each place in the code, and says with the next minute's first how many more
    there were."""

    def __init__(self, same: int = SAME, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._same, self._clock = same, clock
        self._counted: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """As logging's."""
        place, now = (record.pathname, record.lineno), self._clock()
        since, count = self._counted.get(place, (now, 0))
        if now - since >= 60:
            if count > self._same:
                record.msg = f"{record.getMessage()} ({count - self._same} more such lines were left out)"
                record.args = ()
            since, count = now, 0
        self._counted[place] = since, count + 1
        return count < self._same


def begin() -> None:
    """Log to standard error from now on."""
    handler = logging.StreamHandler()
    handler.addFilter(Sparing())
    handler.setFormatter(Discreet("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for chatty in ("httpx", "httpx2", "fontTools"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("mcp").setLevel(logging.ERROR)  # its warnings quote what it was asked for
