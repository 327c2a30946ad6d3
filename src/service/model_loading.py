"""The models that the page offers: what is known about them, and a separate process that loads them.

Where processes can be forked and there is no GPU, the app's own process holds no network and imports no torch. So it
needs less memory, and it imports the page while the models load.
"""

import multiprocessing
import os
import pickle
import signal
import statistics
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, NamedTuple

from src.models import hub
from src.models.checkpoint_info import CheckpointInfo
from src.service import examples
from src.service.shared_models import SharedModels

if TYPE_CHECKING:
    from src.models.predictor import Predictor

Models = Mapping[str, "Predictor"]
"""Predictors by the names of their checkpoint folders: the task's name, or TASK-NAME for a further checkpoint."""

Load = Callable[[], Models]
"""A function that loads the models. It is a module's own, so that another process can call it."""


@dataclass(frozen=True)
class ModelsInfo:
    """What the page tells about the models, by the names of their checkpoint folders.

    `milliseconds`: per image, on this machine, of the models of a task that has several; empty on a GPU, which a Space
    may lend for visitors' calls only.
    """

    checkpoints: Mapping[str, CheckpointInfo]
    milliseconds: Mapping[str, float]


def models_info(models: Models) -> ModelsInfo:
    """What the page tells about these models."""
    tasks = [predictor.task.name for predictor in models.values()]
    several = {
        name: predictor
        for name, predictor in models.items()
        if tasks.count(predictor.task.name) > 1 and predictor.device.type == "cpu"
    }
    return ModelsInfo(
        {name: predictor.checkpoint.info for name, predictor in models.items()},
        {name: milliseconds(predictor) for name, predictor in several.items()},
    )


def milliseconds(predictor: "Predictor", times: int = 3) -> float:
    """The median time, over `times` runs, that a model takes from an example's file to the probabilities."""
    example = next(iter(examples.images(predictor.task.name)))
    predictor.predict(example)  # the first run is slower than all others
    durations = []
    for _ in range(times):
        started = time.perf_counter()
        predictor.predict(example)
        durations.append(1000 * (time.perf_counter() - started))
    return statistics.median(durations)


class Loaded(NamedTuple):
    """The loaded models, and what the page tells about them. `cores`: how many cores torch uses on this machine."""

    info: ModelsInfo
    models: SharedModels
    cores: int


class Loading:
    """Loads the models in a separate process, which ends when it has sent them. Making it returns at once."""

    def __init__(self, load: Load) -> None:
        self._loaded: Future[Loaded | None] = Future()

        def receive() -> None:
            try:
                self._loaded.set_result(_receive(load))
            except Exception as error:  # noqa: BLE001 - raised again where the models are awaited
                self._loaded.set_exception(error)

        # A daemon, so that an app that is ended during its start does not wait for it.
        threading.Thread(target=receive, name="load the models", daemon=True).start()

    def result(self) -> Loaded | None:
        """The models, once they are loaded; None if there is a GPU, because then this process loads them itself.

        Raises what the function raised that loads them, and RuntimeError if its process ended.
        """
        return self._loaded.result()


def _receive(load: Load) -> Loaded | None:
    context = multiprocessing.get_context("forkserver")
    connection, theirs = context.Pipe()
    process = context.Process(target=_send, args=(theirs, load, os.getpid()), name="load the models", daemon=True)
    process.start()
    # Open in the new process only, so that its end closes the pipe.
    theirs.close()
    try:
        loaded, value = pickle.loads(connection.recv_bytes())
        if not loaded:
            raise value
        if value is None:
            return None
        info, cores = value
        return Loaded(info, SharedModels.receive(connection), cores)
    except EOFError:
        process.join()
        raise RuntimeError(f"The process that loads the models ended with status {process.exitcode}.") from None


def _send(connection: Connection, load: Load, parent: int) -> None:
    """The main function of the process that loads the models."""
    # Imported here, because the app's own process imports this module, too.
    import torch

    from src.models import device

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the app, and its end ends this process
    threading.Thread(target=end_with_parent, daemon=True).start()
    if device.name() != "cpu":
        connection.send_bytes(pickle.dumps((True, None)))
        return
    cores = torch.get_num_threads()
    torch.set_num_threads(1)  # the app does other work on the other cores
    try:
        models = load()
        info, shared = models_info(models), SharedModels(models)
    except Exception as error:  # noqa: BLE001 - raised again in the app
        error.add_note(traceback.format_exc())  # a pickled exception loses its traceback
        connection.send_bytes(pickle.dumps((False, error)))
        return
    connection.send_bytes(pickle.dumps((True, (info, cores))))
    shared.send(connection, parent)
    # A download that took too long for this start goes on, so that the next start finds it in the cache.
    hub.wait()


def end_with_parent() -> None:
    """End this process with its parent, also while it works and does not read its pipe. Does not return."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
