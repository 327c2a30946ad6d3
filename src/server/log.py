"""The log. It records faults of the app, and nothing about its visitors."""

import logging
import time
import traceback
from collections.abc import Callable
from typing import Any, Final

LINES_PER_MINUTE: Final = 20
"""The limit for each line of code that logs, because a visitor may be able to trigger it any number of times."""


class WithoutMessages(logging.Formatter):
    """Formats an exception as its class and traceback, without its message, which may quote the name of a file."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """The traceback without messages; the cause of an exception comes first."""
        parts, error = [], ei[1]
        while error is not None:
            parts.append("".join([*traceback.format_tb(error.__traceback__), type(error).__name__]))
            error = error.__cause__ or error.__context__
        return "\n".join(reversed(parts))


class LineLimit(logging.Filter):
    """Passes at most `most` records per minute from each line of code.

    The first record of a later minute gives the number of those that were left out.
    """

    def __init__(self, most: int = LINES_PER_MINUTE, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._most, self._clock = most, clock
        self._counted: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        place, now = (record.pathname, record.lineno), self._clock()
        since, count = self._counted.get(place, (now, 0))
        if now - since >= 60:
            if count > self._most:
                record.msg = f"{record.getMessage()} ({count - self._most} more such lines were left out)"
                record.args = ()
            since, count = now, 0
        self._counted[place] = since, count + 1
        return count < self._most


class WithoutRequests(logging.Filter):
    """Replaces the text of records of the root logger by the line of code that made them.

    Our code does not log there. The library for MCP does, and quotes requests that it cannot parse.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """True: every record is logged."""
        if record.name == "root":
            record.msg, record.args = f"a request was refused ({record.module}:{record.lineno})", ()
            record.exc_info = None
        return True


def begin() -> None:
    """Log to standard error from now on."""
    handler = logging.StreamHandler()
    handler.addFilter(LineLimit())
    handler.addFilter(WithoutRequests())
    handler.setFormatter(WithoutMessages("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for chatty in ("httpx", "httpx2", "fontTools"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("mcp").setLevel(logging.ERROR)  # its warnings quote the requests
