"""Coroutines in tests."""

import asyncio
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, in a thread of its own: once Playwright is started, it has a loop running in the
    tests' thread, and a second can't run there (asyncio.run passes in the test alone and fails in the whole run). All
    run in one loop, so that what is bound to it can be used by several tests."""
    return asyncio.run_coroutine_threadsafe(coroutine, _loop()).result()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="tests.loop", daemon=True).start()
    return loop
