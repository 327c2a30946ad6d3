"""Where pictures and tables are read: a function and its arguments -> what it returns, with the models at hand.

The page and the API ask for all model work here, and nowhere else, so that one place bounds it: how much is done at
once, how long each piece may take, and what a visitor is told where it ends before its time. On the CPU it is done in
processes of its own, which may be killed at any moment; on a GPU, which no second process should share, in this one.
Knows nothing of Gradio, and of a function nothing but that it takes the models first.
"""

import asyncio
import io
import logging
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import cached_property, partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import anyio
import anyio.to_thread
import numpy as np
import torch

from src import outgoing
from src.fair_queue import TOO_BUSY, Late, Turn, Turns, visitor
from src.models import device
from src.models.predictor import Predictor

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

Models = Mapping[str, Predictor]
"""Predictors by the name of their checkpoint folder: a task's name, or TASK-NAME for its further ones."""

SECONDS = 20
"""What a piece of work may take, and what it waits for its turn at most."""
QUEUED = 2
"""Seconds of waiting from which on the queue, not the file, is the reason where work was stopped."""
GRACE_SECONDS = 1
"""What work that nobody waits for any more may still take: to end nearly costs less than a new process."""
MOST = 4
"""Cores that are used at most, whatever the machine. There is a process for each, and one more: it is kept for a
second visitor, who then shares a core instead of waiting. Each process holds some 0.3 GB of its own."""
STARTING_SECONDS = 300
"""What the first visitors of a page just started wait for a process at most: it loads code for seconds, or minutes."""
NICE = 5
"""How far the work stands back for the page, which must answer while it is done."""

MEMORY = 1_500_000_000
"""Bytes of address space that a piece of work may take beyond what its process holds with all models loaded. The most
that a picture within the limits of src/pictures/decode.py was seen to take is 0.9 GB (tests/attack/memory.py)."""
STATM = Path("/proc/self/statm")
"""Where Linux says how large a process is; elsewhere no limit on memory can be set that means anything."""

NOT_STARTED = "The page has just started and is not ready yet; try again in a minute."
TOO_LONG = f"Reading this file took longer than {SECONDS} seconds and was stopped; try a smaller one."
TOO_LARGE = "Reading this file takes more memory than there is for one; try a smaller one."
ENDED = "Reading this file ended unexpectedly; try again."

PRELOADED: Final = (
    "src.service.worker_pool",
    "src.service.read_picture",
    "src.service.batch",
    "src.local",
    "pytorch_grad_cam",
    "matplotlib.colors",
)
"""What processes are forked with: what they need at once, and what they would otherwise load at the first heat map."""


class WorkFailed(Exception):  # noqa: N818 - as ImageRefused
    """The work was not done, through no fault of the picture's; `str()` is one sentence for the person."""


class Busy(WorkFailed):
    """The work was not begun, since its turn would have come too late; another try will do `after` seconds later."""

    def __init__(self, after: int) -> None:
        super().__init__(TOO_BUSY.format(after=after))
        self.after = after


class Work:
    """Does the work in this process, on a lent GPU where there is one to be lent.

    `at_once` pieces are done at a time, each in at most `seconds`, and visitors are served in turn
    (src/fair_queue.py). The context variable `visitor` there says who asks for the work. Threads cannot be killed:
    work that takes too long is left behind.
    """

    def __init__(self, models: Models, seconds: float = SECONDS, at_once: int = 3) -> None:
        self.models, self.seconds, self.at_once = models, seconds, at_once
        self.turns = Turns(at_once, SECONDS)
        self._lent = device.lent(self._run)

    async def call(self, function: Callable[Concatenate[Models, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`function(models, *args, **kwargs)`: a module's own function, arguments and a result that can be pickled.

        Raises what it raises of the project's own, such as ImageRefused; Busy where its turn would come too late; and
        WorkFailed where it took too long or ended unexpectedly. Where the caller is cancelled, the work is ended.
        """
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
        """End whatever is under way, and take no more."""

    async def _turn(self) -> Turn:
        """Wait for a place, to be given back."""
        try:
            return await self.turns.take(visitor.get())
        except Late as late:
            raise Busy(late.after) from None

    def _time_limit(self, turn: Turn) -> float:
        """Seconds that this work may take: at most `seconds`, and less after a wait."""
        return min(self.seconds, self.turns.left(turn))

    def _stopped(self, turn: Turn) -> WorkFailed:
        """The reason why work was stopped at its time limit: it is too much, or its visitor had waited too long."""
        return (
            Busy(self.turns.late(turn).after) if self.turns.left(turn) < self.seconds - QUEUED else WorkFailed(TOO_LONG)
        )

    def _run(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        return _without_faults(function, self.models, *args, **kwargs)


class WorkInProcesses(Work):
    """Does the work in processes, one piece at a time each, that hold a copy of the models.

    A process whose work takes too long, or whose caller has left, is killed; where one is killed from outside, its
    caller is told. Another takes its place within a second or two, since it is forked from one that has all code
    loaded. They end when this process ends, however it does.
    """

    def __init__(self, models: Models, seconds: float = SECONDS, at_once: int | None = None) -> None:
        # One more than torch would use threads; each then uses one.
        super().__init__(models, seconds, at_once or min(torch.get_num_threads(), MOST) + 1)
        prepare()
        self._starting = threading.Lock()
        self._idle = [self._start() for _ in range(self.at_once)]

    async def call(self, function: Callable[Concatenate[Models, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """As Work's."""
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
        """End whatever is under way, and take no more."""
        for started in self._idle:
            started.add_done_callback(_kill)

    def pids(self) -> list[int]:
        """The processes that stand idle."""
        return [started.result().pid for started in self._idle if started.done() and _usable(started)]

    def _take(self) -> "Future[_Worker]":
        """An idle process, or one that is being started where none is."""
        self._idle = [started if _usable(started) else self._start() for started in self._idle]
        return self._idle.pop(next((i for i, started in enumerate(self._idle) if started.done()), 0))

    def _give_back(self, started: "Future[_Worker]", turn: Turn) -> None:
        self._idle.append(started if _usable(started) else self._start())
        self.turns.give_back(turn)

    async def _worker(self, turn: Turn) -> tuple["_Worker", "Future[_Worker]"]:
        """A process that is ready to be asked; for one that ended while it was being started, another, once."""
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
        """What the process replies, after which the place is another's."""
        try:
            return await anyio.to_thread.run_sync(worker.ask, request)
        except (OSError, EOFError):
            worker.kill()
            return False, WorkFailed(ENDED)
        finally:
            self._give_back(started, turn)

    @cached_property
    def _sent(self) -> bytes:
        """Kept, because a process that was killed is replaced in half the time: one size of all models more."""
        return _pickled(self.models)

    def _start(self) -> "Future[_Worker]":
        started: Future[_Worker] = Future()

        def start() -> None:
            try:
                # One after the other: the first is there sooner, and its visitor waits no longer than for one.
                with self._starting:
                    started.set_result(_Worker(self._sent))
            except Exception as error:  # noqa: BLE001 - whatever it is, who waits for it gets it
                started.set_exception(error)

        # A daemon, so that an app that is ended while it starts need not wait.
        threading.Thread(target=start, name="start a worker", daemon=True).start()
        return started


def start(models: Models) -> Work:
    """The work as this machine can do it: in processes, or in this one on a GPU or without fork (Windows)."""
    return WorkInProcesses(models) if _forks() else Work(models)


def prepare() -> None:
    """Start loading, in the background, what every process will need; returns at once."""
    if _forks():
        multiprocessing.set_forkserver_preload(list(PRELOADED))
        forkserver.ensure_running()


def _forks() -> bool:
    return device.name() == "cpu" and "forkserver" in multiprocessing.get_all_start_methods()


class _Worker:
    """A process that holds the models and does what it is asked; made and asked in threads, since both wait for it."""

    def __init__(self, models: bytes) -> None:
        context = multiprocessing.get_context("forkserver")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), name="worker", daemon=True)
        self._process.start()
        # Open in the process alone, so that its end closes the pipe.
        theirs.close()
        self.killed = False
        assert self._process.pid is not None
        self.pid = self._process.pid
        self._connection.send_bytes(models)
        self._connection.recv_bytes()

    def ask(self, request: bytes) -> tuple[bool, Any]:
        """Whether it was done, and what was returned or raised. Raises OSError and EOFError where the process ends."""
        self._connection.send_bytes(request)
        return pickle.loads(self._connection.recv_bytes())

    def kill(self) -> None:
        """End it, whatever it does."""
        self.killed = True
        self._process.kill()

    @property
    def alive(self) -> bool:
        """Whether it can be asked, now that it stands idle: the end of a process is seen at once in its pipe."""
        return not self.killed and not self._connection.poll()


def _usable(started: "Future[_Worker]") -> bool:
    return not started.done() or (started.exception() is None and started.result().alive)


def _kill(started: "Future[_Worker]") -> None:
    if started.exception() is None:
        started.result().kill()


def _serve(connection: Connection) -> None:
    """A process's whole life: the models, then request by request, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the app, whose end ends this
    outgoing.shut()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    try:
        models = pickle.loads(connection.recv_bytes())
        limit_memory(MEMORY)
        os.nice(NICE)  # from here on: until it is ready, a visitor may wait for it
        connection.send_bytes(b"ready")
        while True:
            function, args, kwargs = pickle.loads(connection.recv_bytes())
            try:
                reply = True, _without_faults(function, models, *args, **kwargs)
            except Exception as error:  # noqa: BLE001 - raised at the other end
                reply = False, error
            connection.send_bytes(pickle.dumps(reply))
    except (OSError, EOFError):
        return


def limit_memory(further: int) -> None:
    """Let this process take so many bytes of address space beyond what it has by now: what asks for more gets a
    MemoryError. Without effect where the system does not say how much it has."""
    if not STATM.exists():
        return
    import resource  # Unix alone has it

    held = int(STATM.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    lowest = min(limit for limit in (soft, hard, held + further) if limit != resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_AS, (lowest, hard))


def _end_with_parent() -> None:
    """Also in the middle of work, when nobody reads the pipe."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _without_faults(function: Callable[..., R], models: Models, *args: Any, **kwargs: Any) -> R:
    """`function(models, ...)`; what it raises that is not the project's own is logged and becomes WorkFailed."""
    try:
        return function(models, *args, **kwargs)
    except Exception as error:
        if type(error).__module__.partition(".")[0] == __name__.partition(".")[0]:
            raise
        # Without its message, which may quote the name of a visitor's file.
        frames = "".join(traceback.format_tb(error.__traceback__))
        log.error("%s in %s\n%s", type(error).__name__, function.__name__, frames)
        raise WorkFailed(TOO_LARGE if _out_of_memory(error) else ENDED) from None


def _out_of_memory(error: Exception) -> bool:
    # torch's allocator for the CPU raises a RuntimeError that only its text tells from others.
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)


class _Pickler(pickle.Pickler):
    """Tensors go as numpy arrays: torch's own way calls torch.load, which this app never does, or needs /dev/shm."""

    def reducer_override(self, value: object) -> Any:
        """As pickle.Pickler's."""
        return (_tensor, (value.numpy(),)) if type(value) is torch.Tensor else NotImplemented


def _tensor(values: np.ndarray) -> torch.Tensor:
    # Cloned into memory aligned as torch's own is: sums must come out the same, to the last bit, in every process.
    return torch.from_numpy(values).clone()


def _pickled(models: Models) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream, pickle.HIGHEST_PROTOCOL).dump(models)
    return stream.getvalue()
