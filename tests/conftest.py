"""Fixtures and rules for all tests. The fixtures of one folder are in that folder's conftest.py."""

from collections.abc import Generator, Iterator

import pytest

from src.models import engine_choice
from src.tasks import TASKS
from tests.support import synthetic_checkpoints
from tests.support.app import Server, running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test fails: it would say nothing, and nobody would notice."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report


@pytest.fixture(scope="session", autouse=True)
def _torch() -> Iterator[None]:
    """PyTorch runs the networks of this process. OpenVINO would convert each of them first, which takes seconds.

    tests/unit/models/test_engine.py compares the engines for every network, and the tests of the golden values compare
    them for every released checkpoint. The app that tests start, and the models of the worker pools, use OpenVINO.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(engine_choice.VARIABLE, "torch")
        yield


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app with a random network for every task; ends with the session."""
    checkpoints = tmp_path_factory.mktemp("checkpoints")
    # Three digits, as validation chooses it: finer than the slider's step, which must not round it.
    folders = {task: synthetic_checkpoints.write(checkpoints / task, task) for task in TASKS}
    synthetic_checkpoints.write(folders["skin"], "skin", default_threshold=0.187)
    with running(
        checkpoints, {f"VIGIL_WEIGHTS_{task.upper()}": str(folder) for task, folder in folders.items()}
    ) as app:
        yield app
