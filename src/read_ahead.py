"""Does work in threads ahead of the one who uses it, within bounds. It knows nothing of the work."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(work: Callable[[T], R], items: Iterable[T], threads: int, depth: int) -> Iterator[R]:
    """`work(item)` of each item, in order.

    `threads` do the work. At most `depth` items are being worked on or wait to be used. Raises what `work` raises.
    """
    executor = ThreadPoolExecutor(threads, thread_name_prefix="read ahead")
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(executor.submit(work, item))
            if len(waiting) == depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # If the caller stops early, no further item is worked on.
        executor.shutdown(cancel_futures=True)
