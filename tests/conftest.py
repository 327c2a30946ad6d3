"""Shared by the tests of page and API: app.py as it is started, on a free port, with made-up checkpoints; pictures."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from src.tasks import TASKS
from tests import made_up_checkpoints

ROOT = Path(__file__).resolve().parent.parent
STARTED_WITHIN = 120  # seconds; some 15 on an idle machine


@dataclass(frozen=True)
class Server:
    """A running app.py: where it answers, where its uploads lie, what it has written, which checkpoints it serves."""

    url: str
    uploads: Path
    log: Path
    checkpoints: Path
    process: subprocess.Popen[bytes]


@contextmanager
def running(folder: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """`python app.py` on a free port with these settings, until the block ends; log and uploads go into `folder`."""
    log, uploads = folder / "app.log", folder / "uploads"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {**os.environ, **environment, "GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(uploads)}
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=settings, stdout=stream, stderr=subprocess.STDOUT
        )
    try:
        wait_for(url, process, log)
        yield Server(url, uploads, log, folder, process)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app with a random network for every task; ends with the session."""
    checkpoints = tmp_path_factory.mktemp("checkpoints")
    # Three digits, as validation chooses it: finer than the slider's step, which must not round it.
    folders = {task: made_up_checkpoints.write(checkpoints / task, task) for task in TASKS}
    made_up_checkpoints.write(folders["skin"], "skin", default_threshold=0.187)
    with running(
        checkpoints, {f"VIGIL_WEIGHTS_{task.upper()}": str(folder) for task, folder in folders.items()}
    ) as app:
        yield app


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once `url` answers; fail with the log where the process ends or takes too long."""
    until = time.monotonic() + STARTED_WITHIN
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.3)
        else:
            return
    pytest.fail(f"app.py does not answer:\n{log.read_text(errors='replace')[-3000:]}")
