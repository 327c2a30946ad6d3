"""The process that loads the models, and what the page tells about them."""

import multiprocessing
import pickle
import threading
from functools import partial
from pathlib import Path

import pytest
import torch

import app
from src.models import device, predictor
from src.models.checkpoints import Checkpoint
from src.models.engine_choice import EngineRefused
from src.service import model_loading, preloading, worker_pool
from src.service.model_loading import Loading, Models, models_info
from src.tasks import TASKS
from tests.support import worker_functions
from tests.support.app import ROOT
from tests.support.event_loop import run
from tests.support.small_models import small_models

pytestmark = pytest.mark.slow

PICTURE = str(ROOT / "examples" / "breastmnist" / "oval.png")


def test_the_page_knows_the_models_without_their_networks(all_models: Models) -> None:
    found = models_info(all_models)
    assert list(found.checkpoints) == list(all_models)
    for name, checkpoint in found.checkpoints.items():
        assert not isinstance(checkpoint, Checkpoint)
        assert vars(checkpoint).items() <= vars(all_models[name].checkpoint).items()
    assert set(found.milliseconds) == {"breastmnist", "breastmnist-logistic"}, "the only task with two models"
    assert min(found.milliseconds.values()) > 0


def test_a_process_of_its_own_loads_them(all_models: Models, tmp_path: Path) -> None:
    waiting = worker_pool.begin(partial(small_models, tmp_path))
    pool = waiting()
    assert isinstance(pool, worker_pool.ProcessWorkerPool)
    try:
        assert {name: one.revision for name, one in pool.info.checkpoints.items()} == {
            name: one.checkpoint.revision for name, one in all_models.items()
        }
        assert pool.at_once == min(torch.get_num_threads(), worker_pool.MOST_CORES) + 1
        answered = run(pool.call(worker_functions.probabilities, "breastmnist", PICTURE))
        assert answered == all_models["breastmnist"].predict(PICTURE).probabilities
    finally:
        pool.close()


def test_its_refusal_is_raised_here() -> None:
    loading = Loading(worker_functions.refuses_to_load)
    with pytest.raises(EngineRefused) as refused:
        loading.result()
    assert str(refused.value) == worker_functions.NO_ENGINE
    assert "in refuses_to_load" in refused.value.__notes__[0]


def test_if_it_ends_nobody_waits_for_ever() -> None:
    with pytest.raises(RuntimeError, match="ended with status 3"):
        worker_pool.begin(worker_functions.ends_while_it_loads)()


def test_on_a_gpu_one_thread_makes_all_models(monkeypatch: pytest.MonkeyPatch) -> None:
    # In any other thread, ZeroGPU's substitute for CUDA raises an error.
    made: list[tuple[str, threading.Thread]] = []

    def record(_: Checkpoint, device: str) -> None:
        made.append((device, threading.current_thread()))

    monkeypatch.setattr(app.log, "begin", lambda: None)  # it would change the log of all tests that follow
    monkeypatch.setattr(device, "name", lambda: "cuda")
    monkeypatch.setattr(predictor, "Predictor", record)
    names = list(app.load())
    assert made == [("cuda", threading.current_thread())] * len(names)
    assert names[: len(TASKS)] == list(TASKS)


def test_without_fork_threads_do_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preloading, "forks", lambda: False)
    assert isinstance(worker_pool.begin(lambda: {})(), worker_pool.ThreadWorkerPool)


def test_on_a_gpu_threads_do_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_loading, "_send", worker_functions.says_that_there_is_a_gpu)
    assert isinstance(worker_pool.begin(dict)(), worker_pool.ThreadWorkerPool)


def test_on_a_gpu_the_process_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "name", lambda: "cuda")
    monkeypatch.setattr(model_loading.signal, "signal", lambda *_: None)
    monkeypatch.setattr(model_loading, "end_with_parent", lambda: None)
    here, there = multiprocessing.Pipe()
    model_loading._send(there, worker_functions.refuses_to_load, 0)
    assert pickle.loads(here.recv_bytes()) == (True, None)
