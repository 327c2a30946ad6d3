"""A process that scores parts and is replaced when it dies. Knows which image it died of; knows no other process."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Final, Literal

from src.exports.csv_rows import row
from src.scale.addresses import ScaleError, StoreError
from src.scale.parts import Part, Written
from src.scale.worker import Job, Scorer
from src.tasks import TASKS

TRIES: Final = 3
"""How often a part is tried whose process dies."""
IMAGE_TRIES: Final = 2
"""How often an image of such a part is tried alone. It is named if its process dies each time."""
IMAGE_SECONDS: Final = 120.0
"""What an image may take on average. The slowest, a cine of 64 frames in eight views, takes half a minute."""
OTHER_SECONDS: Final = 600.0
"""What a process may take to load its network, which may come from the Hub, or to write a file."""
ENDED: Final = "The process that read this image ended each time, or took too long; the image is not tried again."

Method = Literal["score", "rows", "write"]
_METHODS: Final = multiprocessing.get_all_start_methods()
_CONTEXT: Final[Any] = multiprocessing.get_context("forkserver" if "forkserver" in _METHODS else "spawn")
"""A process that is forked from ours would inherit torch's threads in any state. The fork server has no threads, and it
has imported torch, so that a process that replaces another starts at once."""
_CONTEXT.set_forkserver_preload(["src.scale.run"])


class PartFailed(Exception):  # noqa: N818 - an outcome, as ImageRefused
    """A part has no file, mostly because a store fails. The message says why. A later run tries it again."""


class Closed(Exception):  # noqa: N818 - an outcome, as ImageRefused
    """The process was closed while it worked."""


class _Died(Exception):  # noqa: N818 - an outcome, as ImageRefused
    pass


class ScoringProcess:
    """One process with the network of `job` on `device`, which starts with the first part. One thread asks it."""

    def __init__(self, job: Job, device: str) -> None:
        self._job, self._device = job, device
        self._running: tuple[BaseProcess, Connection] | None = None
        self._closed = threading.Event()

    def score(self, part: Part) -> Written:
        """Write the file of a part. An image whose process dies each time gets a row with an error.

        Raises PartFailed; ScaleError where no part can be scored; and Closed after `close`.
        """
        try:
            return self._tried(TRIES, "score", (part,), IMAGE_SECONDS * len(part.images))
        except _Died:
            return self._one_by_one(part)

    def close(self) -> None:
        """End the process at once. Any thread may call this."""
        self._closed.set()
        self._end()

    def _one_by_one(self, part: Part) -> Written:
        """Read the images of a part alone, so that those whose process dies are known, and write the part."""
        rows = []
        for image in part.images:
            try:
                rows += self._tried(IMAGE_TRIES, "rows", ([image],), IMAGE_SECONDS)
            except _Died:
                rows.append(row(TASKS[self._job.task], image.path, ENDED, self._job.threshold))
        if len(rows) > 1 and all(one.get("error") == ENDED for one in rows):
            raise PartFailed("Its process ended with each image, so none of them can be the reason.")
        try:
            return self._tried(TRIES, "write", (part, rows), OTHER_SECONDS)
        except _Died:
            raise PartFailed("Its process ended while it wrote the rows.") from None

    def _tried(self, tries: int, method: Method, arguments: tuple[Any, ...], seconds: float) -> Any:
        """The answer of the process. Raises _Died if it dies at each try."""
        for _ in range(tries - 1):
            with suppress(_Died):
                return self._ask(method, arguments, seconds)
        return self._ask(method, arguments, seconds)

    def _ask(self, method: Method, arguments: tuple[Any, ...], seconds: float) -> Any:
        connection = self._connection()
        try:
            connection.send((method, arguments))
            return self._answer(connection, seconds)
        except (OSError, EOFError):
            self._end()
            if self._closed.is_set():
                raise Closed from None
            raise _Died from None

    def _answer(self, connection: Connection, seconds: float) -> Any:
        """The next answer. Raises EOFError if there is none in time."""
        if not connection.poll(seconds):
            raise EOFError
        kind, value = connection.recv()
        if kind == "failed":
            raise PartFailed(value)
        if kind == "refused":
            raise ScaleError(value)
        return value

    def _connection(self) -> Connection:
        """The connection to a process that has loaded the network."""
        if self._running is not None:
            return self._running[1]
        for _ in range(TRIES):
            if self._closed.is_set():
                raise Closed
            ours, theirs = _CONTEXT.Pipe()
            process = _CONTEXT.Process(target=_serve, args=(theirs, self._job, self._device), daemon=True)
            with _without_interrupts():
                process.start()
            theirs.close()
            self._running = process, ours
            if self._closed.is_set():
                self._end()
                raise Closed
            try:
                self._answer(ours, OTHER_SECONDS)
            except (OSError, EOFError):
                self._end()
            else:
                return ours
        raise ScaleError("No process can load the network, because each ends while it does; there may be no memory.")

    def _end(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            process, connection = running
            process.kill()
            process.join()
            if not self._closed.is_set():
                connection.close()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that are started within the block do not see Ctrl-C, which the terminal sends to all of them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield  # Windows
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, job: Job, device: str) -> None:
    """Load the network, and answer until the other side ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.ERROR)
    try:
        scorer = Scorer(job, device)
    except ScaleError as error:
        connection.send(("refused", str(error)))
        return
    connection.send(("done", None))
    while True:
        method, arguments = connection.recv()
        try:
            answer = getattr(scorer, method)(*arguments)
        except StoreError as error:
            connection.send(("failed", str(error)))
        except ScaleError as error:
            connection.send(("refused", str(error)))
        else:
            connection.send(("done", answer))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
