"""The worker pool: it calls a function with the models and its arguments, and returns the result.

Page and API do all model work here, so that one module limits it: the pieces at once, the time of each, its memory, and
the sentence for a visitor whose work was stopped. On the CPU, worker processes do the work, and any of them can be
killed at any moment. On a GPU, which no second process should share, threads of this process do it. The module knows
nothing of Gradio, and of a function only that its first argument is the models.
"""

import asyncio
import gc
import logging
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import anyio
import anyio.to_thread

from src import outgoing
from src.fair_queue import TOO_BUSY, Late, Turn, Turns, visitor
from src.memory_limit import limit_memory
from src.service import preloading
from src.service.model_loading import Load, Loading, Models, ModelsInfo, end_with_parent, models_info
from src.service.shared_models import SharedModels

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

SECONDS = 18
"""The longest time of a piece of work, its wait in the queue included. On a full machine a call takes up to 2 s
to reach the queue and to bring its answer back, and no visitor shall wait longer than 20 s."""
QUEUED = 2
"""After a wait of so many seconds, the queue and not the file is the reason why work was stopped."""
GRACE_SECONDS = 1
"""The time that work may still take after its visitor has left. Mostly it ends then, and saves a new process."""
MOST_CORES: Final = 4
"""The most cores in use. There is one process for each, and one more for a second visitor, who then shares a core
instead of waiting. Each process takes about 0.3 GB of its own."""
STARTING_SECONDS = 300
"""The longest wait for a process after the start of the app: a process loads code for seconds, or for minutes."""
NICE = 5
"""The niceness of the worker processes: the page must answer while they work."""

MEMORY = 2_000_000_000
"""Bytes of address space that a piece of work may take, besides those of its process with all models loaded. The
costliest image within the limits, a transparent PNG, took 1.5 GB (tests/attack/memory.py)."""

NOT_STARTED = "The page has just started and is not ready yet; try again in a minute."
TOO_LONG = (
    f"Reading this file took longer than {SECONDS} seconds and was stopped; try a smaller one, or this one when the "
    "page is less busy."
)
TOO_LARGE = "Reading this file takes more memory than there is for one; try a smaller one."
ENDED = "Reading this file ended unexpectedly; try again."


class WorkFailed(Exception):  # noqa: N818 - as ImageRefused
    """The work was not done, for a reason that is not in the file; `str()` is one sentence for the visitor."""


class Busy(WorkFailed):
    """The work was refused or stopped because it would end too late. Another try will succeed `after` seconds later."""

    def __init__(self, after: int) -> None:
        super().__init__(TOO_BUSY.format(after=after))
        self.after = after

    def __reduce__(self) -> tuple[type["Busy"], tuple[int]]:
        # Pickled, an exception is made anew from its message.
        return Busy, (self.after,)


class WorkerPool(ABC):
    """Does pieces of work with the models, `at_once` at a time, each in at most `seconds`.

    It serves visitors in turn (src/fair_queue.py); the context variable `visitor` there names the visitor. `info` is
    what the page tells about the models.
    """

    def __init__(self, info: ModelsInfo, seconds: float, at_once: int) -> None:
        self.info, self.seconds, self.at_once = info, seconds, at_once
        self.turns = Turns(at_once, SECONDS)

    @abstractmethod
    async def call(self, function: Callable[Concatenate[Models, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`function(models, *args, **kwargs)`. The function is a module's own; arguments and result can be pickled.

        Raises the project's own exceptions that the function raises, such as ImageRefused; Busy where it would end too
        late; WorkFailed where it took too long or ended unexpectedly. Where the caller is cancelled, the work is ended.
        """

    @abstractmethod
    def close(self) -> None:
        """End all work, and take no more."""

    async def _turn(self) -> Turn:
        """Wait for a place, which must be given back."""
        try:
            return await self.turns.take(visitor.get())
        except Late as late:
            raise Busy(late.after) from None

    def _time_limit(self, turn: Turn) -> float:
        """The time limit of this work: `seconds`, and less after a wait."""
        return min(self.seconds, self.turns.left(turn))

    def _stopped(self, turn: Turn) -> WorkFailed:
        """The reason why work was stopped at its time limit: it takes too long, or its visitor had waited too long."""
        return (
            Busy(self.turns.late(turn).after) if self.turns.left(turn) < self.seconds - QUEUED else WorkFailed(TOO_LONG)
        )


class ThreadWorkerPool(WorkerPool):
    """Does the work in threads of this process, on a borrowed GPU where a Space lends one.

    A thread cannot be killed: work that takes too long runs on, and nobody waits for it.
    """

    def __init__(self, models: Models, seconds: float = SECONDS, at_once: int = 3) -> None:
        # Imported here, because an app with worker processes needs no torch.
        from src.models import device

        super().__init__(models_info(models), seconds, at_once)
        self._models, self._lent = models, device.lent(self._run)

    async def call(self, function: Callable[Concatenate[Models, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """As WorkerPool's."""
        turn = await self._turn()
        self.turns.start(turn)
        try:
            with anyio.move_on_after(self._time_limit(turn)):
                work = partial(self._lent, function, *args, **kwargs)
                return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
            raise self._stopped(turn)
        finally:
            self.turns.give_back(turn)

    def close(self) -> None:
        """As WorkerPool's. Threads end by themselves."""

    def _run(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        return _without_faults(function, self._models, *args, **kwargs)


class ProcessWorkerPool(WorkerPool):
    """Does the work in processes that hold a copy of the models, each one piece at a time.

    `info`, `seconds` and `at_once`: as in `WorkerPool`. `models`: as the processes get them. They are kept, so that a
    killed process is soon replaced.

    Kills a process whose work takes too long or whose caller has left. Where something else kills it, its caller gets a
    sentence. Another process takes its place within two seconds, because it is forked from one that has loaded all
    code. The processes end when this process ends, in whatever way.
    """

    def __init__(self, info: ModelsInfo, models: SharedModels, at_once: int, seconds: float = SECONDS) -> None:
        super().__init__(info, seconds, at_once)
        self._models = models
        preloading.begin()
        self._starting = threading.Lock()
        self._idle = [self._start() for _ in range(self.at_once)]

    async def call(self, function: Callable[Concatenate[Models, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """As WorkerPool's."""
        request = pickle.dumps((function, args, kwargs))
        turn = await self._turn()
        worker, started = await self._worker(turn)
        self.turns.start(turn)
        reply = asyncio.ensure_future(self._reply(worker, started, turn, request))
        try:
            async with asyncio.timeout(self._time_limit(turn)):
                done, value = await asyncio.shield(reply)
        except TimeoutError:
            worker.kill()
            raise self._stopped(turn) from None
        except asyncio.CancelledError:
            end = asyncio.get_running_loop().call_later(GRACE_SECONDS, worker.kill)
            reply.add_done_callback(lambda _: end.cancel())
            raise
        if done:
            return value
        raise value

    def close(self) -> None:
        """End all work, and take no more."""
        for started in self._idle:
            started.add_done_callback(_kill)

    def pids(self) -> list[int]:
        """The ids of the idle processes."""
        return [started.result().pid for started in self._idle if started.done() and _usable(started)]

    def _take(self) -> "Future[_Worker]":
        """An idle process, or one that is being started where none is idle."""
        self._idle = [started if _usable(started) else self._start() for started in self._idle]
        return self._idle.pop(next((i for i, started in enumerate(self._idle) if started.done()), 0))

    def _give_back(self, started: "Future[_Worker]", turn: Turn) -> None:
        self._idle.append(started if _usable(started) else self._start())
        self.turns.give_back(turn)

    async def _worker(self, turn: Turn) -> tuple["_Worker", "Future[_Worker]"]:
        """A process that is ready. If it ends while it is being started, another one, once."""
        started = self._take()
        try:
            try:
                return await self._ready(started), started
            except TimeoutError:
                raise
            except (OSError, EOFError) as error:
                log.warning("A process ended while it was being started: %r", error)
                started = self._start()
                return await self._ready(started), started
        except BaseException as error:
            self._give_back(started, turn)
            if isinstance(error, TimeoutError):
                raise WorkFailed(NOT_STARTED) from None
            if isinstance(error, OSError | EOFError):
                log.error("A process could not be started: %r", error)
                raise WorkFailed(ENDED) from None
            raise

    @staticmethod
    async def _ready(started: "Future[_Worker]") -> "_Worker":
        async with asyncio.timeout(STARTING_SECONDS):
            return await asyncio.shield(asyncio.wrap_future(started))

    async def _reply(
        self, worker: "_Worker", started: "Future[_Worker]", turn: Turn, request: bytes
    ) -> tuple[bool, Any]:
        """The reply of the process. Gives the place back."""
        try:
            return await anyio.to_thread.run_sync(worker.ask, request)
        except (OSError, EOFError):
            worker.kill()
            return False, WorkFailed(ENDED)
        finally:
            self._give_back(started, turn)

    def _start(self) -> "Future[_Worker]":
        started: Future[_Worker] = Future()

        def start() -> None:
            try:
                # One after the other, so that the first is ready as soon as possible.
                with self._starting:
                    started.set_result(_Worker(self._models))
            except Exception as error:  # noqa: BLE001 - raised again where the process is awaited
                started.set_exception(error)

        # A daemon, so that an app that is ended during its start does not wait for it.
        threading.Thread(target=start, name="start a worker", daemon=True).start()
        return started


def begin(load: Load) -> Callable[[], WorkerPool]:
    """Begin to load the models where a separate process can, and return at once.

    The function that is returned waits for them and returns a pool of processes. On a GPU, and without fork (Windows),
    it loads the models itself and returns a pool of threads. It raises as `Loading.result` does.
    """
    if not preloading.forks():
        return lambda: ThreadWorkerPool(load())
    preloading.begin()
    loading = Loading(load)

    def loaded() -> WorkerPool:
        found = loading.result()
        if found is None:
            return ThreadWorkerPool(load())
        return ProcessWorkerPool(found.info, found.models, min(found.cores, MOST_CORES) + 1)

    return loaded


class _Worker:
    """A process that holds the models and does one piece of work after the other. Making and asking it both block."""

    def __init__(self, models: SharedModels) -> None:
        context = multiprocessing.get_context("forkserver")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), name="worker", daemon=True)
        self._process.start()
        # Open in the new process only, so that its end closes the pipe.
        theirs.close()
        self.killed = False
        assert self._process.pid is not None
        self.pid = self._process.pid
        models.send(self._connection, self.pid)
        self._connection.recv_bytes()

    def ask(self, request: bytes) -> tuple[bool, Any]:
        """Whether the work was done, and its result or exception. Raises OSError or EOFError where the process ends."""
        self._connection.send_bytes(request)
        return pickle.loads(self._connection.recv_bytes())

    def kill(self) -> None:
        """Kill the process."""
        self.killed = True
        self._process.kill()

    @property
    def alive(self) -> bool:
        """Whether the idle process can be asked. If it has ended, its pipe shows that at once."""
        return not self.killed and not self._connection.poll()


def _usable(started: "Future[_Worker]") -> bool:
    return not started.done() or (started.exception() is None and started.result().alive)


def _kill(started: "Future[_Worker]") -> None:
    if started.exception() is None:
        started.result().kill()


def _serve(connection: Connection) -> None:
    """The main function of a process: it receives the models, then does the requests until the pipe is closed."""
    # Imported here, because the app's own process, which also imports this module, needs no torch.
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the app, and its end ends this process
    # The garbage collector writes into every object that it visits. What all processes share would then be copied.
    gc.freeze()
    outgoing.shut()
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        # OpenVINO keeps this number of threads, so the views of one image share the cores. In the small steps that
        # torch does itself, more threads would only wait for each other.
        torch.set_num_threads(min(torch.get_num_threads(), MOST_CORES))
        models = SharedModels.receive(connection).unpickled()
        torch.set_num_threads(1)
        limit_memory(MEMORY)
        os.nice(NICE)  # not before: a visitor may wait until it is ready
        connection.send_bytes(b"ready")
        while True:
            function, args, kwargs = pickle.loads(connection.recv_bytes())
            # A library's warning may quote the file, and standard error is the log. No other thread does work here.
            with warnings.catch_warnings(record=True):
                try:
                    reply = True, _without_faults(function, models, *args, **kwargs)
                except Exception as error:  # noqa: BLE001 - raised again in the app
                    reply = False, error
            connection.send_bytes(pickle.dumps(reply))
    except (OSError, EOFError):
        return


def _without_faults(function: Callable[..., R], models: Models, *args: Any, **kwargs: Any) -> R:
    """`function(models, ...)`. Logs any exception that is not the project's own, and raises WorkFailed instead."""
    try:
        return function(models, *args, **kwargs)
    except Exception as error:
        if type(error).__module__.partition(".")[0] == __name__.partition(".")[0]:
            raise
        # Without the message of the exception, which may quote the name of a visitor's file.
        frames = "".join(traceback.format_tb(error.__traceback__))
        log.error("%s in %s\n%s", type(error).__name__, function.__name__, frames)
        raise WorkFailed(TOO_LARGE if _out_of_memory(error) else ENDED) from None


def _out_of_memory(error: Exception) -> bool:
    # torch's CPU allocator raises a RuntimeError; only its text distinguishes it from others.
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)
