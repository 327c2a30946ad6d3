"""Connections over which no request comes: uvicorn waits for a request's headers without end."""

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Any, Final

PATIENCE: Final = 25.0
"""Seconds from the first byte of a request, or from the opening of a connection, to the last of its headers."""


async def close_idle(connections: Callable[[], Collection[Any]], patience: float = PATIENCE) -> None:
    """Close, from now on, what has waited longer than `patience` for a request; runs until cancelled.

    `connections` gives uvicorn's open ones. Those of HTTP have the request they last had, its `cycle`.
    """
    waiting: dict[Any, tuple[Any, float]] = {}
    while True:
        now, before = time.monotonic(), waiting
        waiting = {}
        for each in connections():
            cycle = getattr(each, "cycle", None)
            if cycle is None or cycle.response_complete:
                last, since = before.get(each, (cycle, now))
                waiting[each] = (cycle, since if last is cycle else now)
        for each, (_, since) in waiting.items():
            if now - since > patience:
                each.transport.abort()
        await asyncio.sleep(patience / 10)
