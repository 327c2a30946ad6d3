"""src/service/worker_pool.py: one limit for all model work, processes that may be killed, and visitors who leave."""

import asyncio
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from src import fair_queue, memory_limit
from src.pictures import archive, picture
from src.pictures.picture import ImageRefused
from src.results import local_validation
from src.service import arguments, batch, read_picture, worker_pool
from src.service.model_loading import Models, ModelsInfo, models_info
from src.service.shared_models import SharedModels
from src.service.worker_pool import ProcessWorkerPool, ThreadWorkerPool, WorkerPool, WorkFailed
from tests.support import synthetic_checkpoints, worker_functions
from tests.support.app import ROOT
from tests.support.event_loop import run

pytestmark = pytest.mark.slow

PICTURE = str(ROOT / "examples" / "breastmnist" / "oval.png")
NEXT_SECONDS = 5
"""What the visitor after one whose process was killed waits at most."""


@pytest.fixture(scope="module")
def processes(models: Models) -> Iterator[ProcessWorkerPool]:
    """Two of them, started once for all tests."""
    started = ProcessWorkerPool(models_info(models), SharedModels(models), at_once=2)
    run(both_ready(started))
    yield started
    started.close()


@pytest.fixture(params=["in processes", "in this one"])
def anywhere(request: pytest.FixtureRequest, models: Models) -> WorkerPool:
    return request.getfixturevalue("processes") if request.param == "in processes" else ThreadWorkerPool(models)


@pytest.fixture
def impatient(processes: ProcessWorkerPool, monkeypatch: pytest.MonkeyPatch) -> ProcessWorkerPool:
    """With a limit of a second."""
    monkeypatch.setattr(processes, "seconds", 1)
    return processes


def test_a_warning_of_a_library_is_not_logged(processes: ProcessWorkerPool) -> None:
    assert run(processes.call(worker_functions.warned, "/nowhere/jane-doe-1960.png")) == ""


def test_what_the_processes_share_is_not_copied(processes: ProcessWorkerPool) -> None:
    """In several tries another process may answer, so each of the two collects garbage at least once."""
    for _ in range(4):
        assert run(processes.call(worker_functions.copied_by_collection)) < 20_000_000


async def both_ready(started: ProcessWorkerPool) -> set[int]:
    """Wait until both processes stand idle; which they are."""
    while len(pids := started.pids()) < 2:
        await asyncio.sleep(0.05)
    return set(pids)


async def begun(started: Path) -> None:
    """Wait until a worker function has written this file."""
    while not started.exists():
        await asyncio.sleep(0.01)


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    while running(pid):
        await asyncio.sleep(0.05)


def running(pid: int) -> bool:
    """Whether any thread of a process runs. Its pipe is closed only when the last one has ended."""
    process = Path(f"/proc/{pid}")
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(list((process / "task").iterdir())) > 1
    except OSError:
        return False


async def as_visitor(name: str, call: Coroutine[Any, Any, Any]) -> Any:
    """What a call gives that this visitor asks for; in a task of its own."""
    fair_queue.visitor.set(name)
    return await call


async def failure(call: Coroutine[Any, Any, Any]) -> str:
    """The sentence of WorkFailed."""
    with pytest.raises(WorkFailed) as caught:
        await call
    return str(caught.value)


def test_the_answer_is_the_same_everywhere(anywhere: WorkerPool, models: Models) -> None:
    expected = models["breastmnist"].predict(PICTURE).probabilities
    answer = run(anywhere.call(worker_functions.probabilities, "breastmnist", PICTURE))
    assert answer == pytest.approx(expected, abs=1e-6)


def test_both_processes_answer_alike_to_the_last_bit(processes: ProcessWorkerPool) -> None:
    async def ask() -> list[tuple[float, ...]]:
        calls = (processes.call(worker_functions.probabilities, "breastmnist", PICTURE) for _ in range(6))
        return await asyncio.gather(*calls)

    assert len(set(run(ask()))) == 1


def test_every_refusal_of_the_project_crosses_a_pipe() -> None:
    kinds = {
        kind
        for module in (picture, archive, arguments, batch, read_picture, local_validation, worker_pool)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__ == module.__name__
    }
    assert {ImageRefused, read_picture.AnswerWithheld, worker_pool.Busy} <= kinds
    for kind in kinds:
        error = kind(7 if kind is worker_pool.Busy else "No.")
        there = pickle.loads(pickle.dumps(error))
        assert (type(there), str(there), vars(there)) == (kind, str(error), vars(error))


def test_a_refusal_crosses_intact(anywhere: WorkerPool) -> None:
    with pytest.raises(ImageRefused, match=r"^No picture of that kind\.$"):
        run(anywhere.call(worker_functions.refused, "No picture of that kind."))


def test_a_fault_costs_a_sentence_and_names_no_file(
    models: Models, processes: ProcessWorkerPool, caplog: pytest.LogCaptureFixture
) -> None:
    file = "/nowhere/jane-doe-1960.png"
    assert run(failure(ThreadWorkerPool(models).call(worker_functions.at_fault, file))) == worker_pool.ENDED
    assert "FileNotFoundError in at_fault" in caplog.text
    assert "read_bytes" in caplog.text
    assert "doe" not in caplog.text
    before = run(both_ready(processes))
    assert run(failure(processes.call(worker_functions.at_fault, file))) == worker_pool.ENDED
    assert run(both_ready(processes)) == before, "a fault of ours needs no other process"


def test_what_takes_too_long_is_ended(impatient: ProcessWorkerPool, tmp_path: Path) -> None:
    async def ask() -> None:
        assert await failure(impatient.call(worker_functions.busy, tmp_path / "pid")) == worker_pool.TOO_LONG
        async with asyncio.timeout(NEXT_SECONDS):
            await impatient.call(worker_functions.process)
        await gone(int((tmp_path / "pid").read_text()))

    run(both_ready(impatient))
    run(ask())


def test_what_takes_too_long_in_this_process_is_left_behind(models: Models) -> None:
    here = ThreadWorkerPool(models, seconds=0.2, at_once=1)

    async def ask() -> None:
        assert await failure(here.call(worker_functions.process, 1)) == worker_pool.TOO_LONG
        assert await here.call(worker_functions.process) == os.getpid()

    run(ask())


def test_a_process_killed_at_work_costs_one_visitor_a_sentence(processes: ProcessWorkerPool) -> None:
    async def ask() -> None:
        before = await both_ready(processes)
        assert await failure(processes.call(worker_functions.killed)) == worker_pool.ENDED
        async with asyncio.timeout(NEXT_SECONDS):
            assert await processes.call(worker_functions.process) in before
        assert len(await both_ready(processes) & before) == 1, "another has taken its place"

    run(ask())


def test_processes_killed_while_idle_cost_nobody_anything(processes: ProcessWorkerPool) -> None:
    async def ask() -> None:
        before = await both_ready(processes)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        for pid in before:
            await gone(pid)
        assert await processes.call(worker_functions.process) not in before

    run(ask())


def test_a_process_killed_while_it_starts_costs_nobody_anything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model: Any = worker_functions.EndsTheFirstStart(tmp_path / "end")
    started = ProcessWorkerPool(ModelsInfo({}, {}), SharedModels({"model": model}), at_once=1)

    async def ask() -> int:
        call = asyncio.ensure_future(started.call(worker_functions.process))
        await asyncio.sleep(0.2)  # the call waits for its process
        (tmp_path / "end").touch()
        return await call

    try:
        assert run(ask()) in started.pids()
        assert "A process ended while it was being started" in caplog.text
    finally:
        started.close()


@pytest.mark.skipif(not memory_limit.STATM.exists(), reason="elsewhere no limit on memory is set")
@pytest.mark.parametrize(
    "hungry",
    [worker_functions.hungry, worker_functions.hungry_network, worker_functions.hungry_bit_by_bit],
    ids=lambda f: f.__name__,
)
def test_work_may_take_so_much_memory_and_no_more(processes: ProcessWorkerPool, hungry: Any) -> None:
    async def ask() -> None:
        before = await both_ready(processes)
        for _ in range(3):
            assert await processes.call(hungry, worker_pool.MEMORY // 2) > 0
            assert await failure(processes.call(hungry, 2 * worker_pool.MEMORY)) == worker_pool.TOO_LARGE
        assert await both_ready(processes) == before, "the next one is read in the same process"

    run(ask())


@pytest.mark.skipif(not memory_limit.STATM.exists(), reason="elsewhere no limit on memory is set")
def test_a_lower_limit_of_the_operators_stays() -> None:
    code = (
        "import resource; from src.memory_limit import limit_memory; "
        "resource.setrlimit(resource.RLIMIT_AS, (2**45, 2**46)); "
        "limit_memory(2**44); first = resource.getrlimit(resource.RLIMIT_AS); "
        "limit_memory(2**47); print(first[0] < 2**45, resource.getrlimit(resource.RLIMIT_AS) == first)"
    )
    said = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert said.split() == ["True", "True"]


def test_who_leaves_frees_the_place(processes: ProcessWorkerPool, tmp_path: Path) -> None:
    async def ask() -> None:
        await both_ready(processes)
        files = [tmp_path / "first", tmp_path / "second"]
        left = [
            asyncio.ensure_future(as_visitor(file.name, processes.call(worker_functions.busy, file))) for file in files
        ]
        while not all(file.exists() and file.read_text() for file in files):
            await asyncio.sleep(0.05)
        for call in left:
            call.cancel()
        assert isinstance(await processes.call(worker_functions.process), int)
        for file in files:
            await gone(int(file.read_text()))

    run(ask())


def test_who_leaves_early_costs_no_process(processes: ProcessWorkerPool, tmp_path: Path) -> None:
    async def ask() -> None:
        before = await both_ready(processes)
        left = asyncio.ensure_future(processes.call(worker_functions.process, 0.2, tmp_path / "started"))
        await begun(tmp_path / "started")
        left.cancel()
        assert await both_ready(processes) == before

    run(ask())


def test_no_more_than_agreed_at_once(processes: ProcessWorkerPool) -> None:
    async def ask() -> float:
        await both_ready(processes)
        began = time.monotonic()
        asked = (as_visitor(str(i), processes.call(worker_functions.process, 0.3)) for i in range(6))
        await asyncio.gather(*asked)
        return time.monotonic() - began

    assert run(ask()) >= 3 * 0.3


def test_whose_turn_does_not_come_in_time_is_refused_at_once(models: Models, tmp_path: Path) -> None:
    here = ThreadWorkerPool(models, at_once=1)
    here.turns = fair_queue.Turns(1, patience=1.1)

    async def ask() -> None:
        first = asyncio.ensure_future(here.call(worker_functions.process, 0.9, tmp_path / "started"))
        await begun(tmp_path / "started")
        assert await failure(here.call(worker_functions.process)) == fair_queue.TOO_BUSY.format(after=1)
        assert not first.done()
        await first

    run(ask())


def test_a_waiting_call_is_refused_where_work_takes_longer_than_expected(
    anywhere: WorkerPool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(anywhere, "turns", fair_queue.Turns(1, patience=6))

    async def ask() -> float:
        began = time.monotonic()
        first = asyncio.ensure_future(anywhere.call(worker_functions.process, 2.5, tmp_path / "started"))
        await begun(tmp_path / "started")
        said = await failure(anywhere.call(worker_functions.process, 10))
        assert re.fullmatch(re.escape(fair_queue.TOO_BUSY).replace(r"\{after\}", r"\d+"), said)
        await first
        return time.monotonic() - began

    assert 5.5 < run(ask()) < 9


ORPHANS = """
import asyncio, os, sys
from pathlib import Path
from src.models import checkpoints
from src import fair_queue
from src.service import worker_pool
from src.service.model_loading import models_info
from src.service.shared_models import SharedModels
from src.models.predictor import Predictor
from tests.support import worker_functions

async def main():
    models = {"breastmnist": Predictor(checkpoints.load("breastmnist", sys.argv[1]))}
    processes = worker_pool.ProcessWorkerPool(models_info(models), SharedModels(models), at_once=2)
    told = Path(sys.argv[2])
    at_work = asyncio.ensure_future(processes.call(worker_functions.busy, told))
    await asyncio.sleep(0)
    fair_queue.visitor.set("another")
    await processes.call(worker_functions.process)
    while not told.exists() or not told.read_text():  # whichever of the two is ready first
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    await at_work

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_no_process_is_left_where_this_one_is_killed(tmp_path: Path) -> None:
    checkpoint = synthetic_checkpoints.write(tmp_path / "checkpoint", "breastmnist")
    script, told = tmp_path / "app.py", tmp_path / "pid"
    script.write_text(ORPHANS)
    app = subprocess.Popen(
        [sys.executable, script, checkpoint, told],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert app.stdout
    assert app.stdout.readline() == b"ready\n"
    children = descendants(app.pid)
    assert int(told.read_text()) in children
    assert len(children) >= 3, "two at work or idle, and the one they are forked from"
    app.kill()
    app.wait()
    run(asyncio.wait_for(all_gone(children), 30))


async def all_gone(pids: set[int]) -> None:
    for pid in pids:
        await gone(pid)


def descendants(pid: int) -> set[int]:
    """All processes below one."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | descendants(child)
    return found
