"""An event loop with a virtual clock: if all coroutines wait, the clock jumps to the next timer.

Tests of waits of minutes take no time with it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class VirtualTime(asyncio.SelectorEventLoop):
    """asyncio's loop with another clock."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        """The virtual time in seconds, from 0."""
        return self._now

    def _run_once(self) -> None:
        due = [timer.when() for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        if due and not self._ready:  # type: ignore[attr-defined]
            self._now = max(self._now, min(due))
        super()._run_once()  # type: ignore[misc]


def run(asked: Callable[[], Awaitable[T]]) -> T:
    """The result of `asked()`, run in a loop and a thread of its own (tests/support/event_loop.py)."""

    async def main() -> T:
        return await asked()

    def alone() -> T:
        with asyncio.Runner(loop_factory=VirtualTime) as runner:
            return runner.run(main())

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(alone).result()
