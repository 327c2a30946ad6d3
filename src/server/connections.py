"""Connections over which no request comes: uvicorn waits for a request's headers without end."""

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Final, Protocol

PATIENCE: Final = 25.0
"""Seconds from the first byte of a request, or from the opening of a connection, to the last of its headers."""


class Cycle(Protocol):
    """uvicorn's request in work."""

    response_complete: bool


class Connection(Protocol):
    """uvicorn's protocol: what both of its implementations have."""

    cycle: Cycle | None
    transport: asyncio.Transport


async def close_idle(connections: Callable[[], Collection[Connection]], patience: float = PATIENCE) -> None:
    """Close, from now on, what has waited longer than `patience` for a request; runs until cancelled."""
    waiting: dict[Connection, tuple[Cycle | None, float]] = {}
    while True:
        now = time.monotonic()
        idle = {each for each in connections() if each.cycle is None or each.cycle.response_complete}
        waiting = {
            each: known if (known := waiting.get(each)) and known[0] is each.cycle else (each.cycle, now)
            for each in idle
        }
        for each, (_, since) in waiting.items():
            if now - since > patience:
                each.transport.abort()
        await asyncio.sleep(patience / 10)
