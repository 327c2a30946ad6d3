"""Connections: a limit on their number, and an end for those without a request. uvicorn would keep those for ever."""

import asyncio
import sys
import time
from collections.abc import Callable, Collection
from typing import Any, Final
from weakref import WeakKeyDictionary

PATIENCE: Final = 25.0
"""Seconds from the first byte of a request, or from the opening of a connection, to the last of its headers."""
MOST: Final = 2000
"""The largest number of open connections, even if the process may open more files."""
BACKLOG: Final = 64
"""The largest number of new connections that are accepted at once. For a moment, three times as many can be open beyond
the limit, until the connections that they replace are closed."""


def most_connections() -> int:
    """The limit on open connections: half of the files that the process may open, as others need some as well."""
    if sys.platform == "win32":  # sockets do not count as open files there
        return MOST
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else min(MOST, soft // 2)


def most_requests(connections: int) -> int:
    """The limit on connections with an open request. The others can be closed for new visitors."""
    return max(1, connections * 3 // 4)


class Connections:
    """Limits uvicorn's open connections, which `opened` returns, to `most`, and closes each that had no request for
    `patience` seconds. An HTTP connection has its last request as `cycle`."""

    def __init__(self, opened: Callable[[], Collection[Any]], most: int = MOST, patience: float = PATIENCE) -> None:
        self._opened, self._most, self._patience = opened, most, patience
        self._waiting: WeakKeyDictionary[Any, tuple[Any, float]] = WeakKeyDictionary()

    def limit(self, loop: asyncio.AbstractEventLoop) -> None:
        """Limit the connections of every server that this loop creates from now on.

        Gradio makes uvicorn's configuration itself and lets nobody change it. uvicorn's own `limit_concurrency` would
        not do: it answers 503 over connections that stay open. asyncio accepts as many connections in one go as may
        queue; without free file descriptors it logs as many tracebacks.
        """
        create = loop.create_server

        async def create_server(protocol_factory: Callable[[], Any], *args: Any, **options: Any) -> Any:
            def connected() -> Any:
                self.make_room()
                protocol = protocol_factory()
                self._waiting[protocol] = None, time.monotonic()
                return protocol

            return await create(connected, *args, **{**options, "backlog": max(1, min(BACKLOG, self._most // 8))})

        setattr(loop, "create_server", create_server)  # noqa: B010 - of this loop only

    def make_room(self) -> None:
        """If the limit is reached, close the connection that has had no request for the longest time."""
        opened = [each for each in self._opened() if not each.transport.is_closing()]
        if len(opened) >= self._most and (waiting := [each for each in opened if is_waiting(each)]):
            now = time.monotonic()
            min(waiting, key=lambda each: self._waiting.get(each, (None, now))[1]).transport.abort()

    async def close_idle(self) -> None:
        """Close connections that have had no request for too long; runs until it is cancelled."""
        while True:
            now = time.monotonic()
            for each in list(self._opened()):
                if not is_waiting(each):
                    self._waiting.pop(each, None)
                    continue
                cycle = getattr(each, "cycle", None)
                last, since = self._waiting.get(each, (cycle, now))
                self._waiting[each] = cycle, since if last is cycle else now
                if now - self._waiting[each][1] > self._patience:
                    each.transport.abort()
            await asyncio.sleep(self._patience / 10)


def is_waiting(connection: Any) -> bool:
    """Whether a connection has no open request."""
    cycle = getattr(connection, "cycle", None)
    return cycle is None or cycle.response_complete
