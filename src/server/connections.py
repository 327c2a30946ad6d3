"""Connections: how many are open at once, and those without a request, for which uvicorn waits without end."""

import asyncio
import sys
import time
from collections.abc import Callable, Collection
from typing import Any, Final
from weakref import WeakKeyDictionary

PATIENCE: Final = 25.0
"""Seconds from the first byte of a request, or from the opening of a connection, to the last of its headers."""
MOST: Final = 2000
"""Connections at once, whatever the process may open."""
BACKLOG: Final = 64
"""Connections that are taken in one go at most. Three times as many can be open beyond the limit for a moment, until
those that made room for them are closed."""


def most_connections() -> int:
    """How many connections may be open: half of what the process may open at all, since files and the processes that
    read pictures need some too."""
    if sys.platform == "win32":  # where a socket is no file, and no such limit is set
        return MOST
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else min(MOST, soft // 2)


def most_requests(connections: int) -> int:
    """How many of them may be held by a request, so that some are left to be closed for whoever comes next."""
    return max(1, connections * 3 // 4)


class Connections:
    """uvicorn's connections, as `opened` gives them: at most `most`, and none that waits longer than `patience` for a
    request. Those of HTTP have the request they last had, its `cycle`."""

    def __init__(self, opened: Callable[[], Collection[Any]], most: int = MOST, patience: float = PATIENCE) -> None:
        self._opened, self._most, self._patience = opened, most, patience
        self._waiting: WeakKeyDictionary[Any, tuple[Any, float]] = WeakKeyDictionary()

    def limit(self, loop: asyncio.AbstractEventLoop) -> None:
        """See to it that the servers which this loop makes from now on take no more connections than they may.

        Gradio makes uvicorn's settings itself, and nobody may add to them. asyncio takes as many connections in one go
        as may queue, and where no descriptors are left it logs that as many times, with a traceback each.
        """
        create = loop.create_server

        async def create_server(protocol_factory: Callable[[], Any], *args: Any, **options: Any) -> Any:
            def connected() -> Any:
                self.make_room()
                protocol = protocol_factory()
                self._waiting[protocol] = None, time.monotonic()
                return protocol

            return await create(connected, *args, **{**options, "backlog": max(1, min(BACKLOG, self._most // 8))})

        setattr(loop, "create_server", create_server)  # noqa: B010 - of this loop alone

    def make_room(self) -> None:
        """Close the connection that has waited longest for a request, where there are as many as there may be."""
        opened = [each for each in self._opened() if not each.transport.is_closing()]
        if len(opened) >= self._most and (waiting := [each for each in opened if is_waiting(each)]):
            now = time.monotonic()
            min(waiting, key=lambda each: self._waiting.get(each, (None, now))[1]).transport.abort()

    async def close_idle(self) -> None:
        """Close, from now on, what has waited too long for a request; runs until cancelled."""
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
    """Whether a connection has no request under way."""
    cycle = getattr(connection, "cycle", None)
    return cycle is None or cycle.response_complete
