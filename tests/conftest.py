"""Shared by the tests of page and API: app.py as it is started, on a free port, with made-up checkpoints; the page in
Debian's Chromium."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from src.models import checkpoints as weights
from src.tasks import TASKS
from tests import made_up_checkpoints

ROOT = Path(__file__).resolve().parent.parent
STARTED_WITHIN = 600  # seconds; some 15 on an idle machine, minutes where trainings run beside this

CHROMIUM = "/usr/bin/chromium"
# Chromium as root in a container, without the connections that it makes of its own accord.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# All tests are one visitor.
UNLIMITED = {"VIGIL_VISITOR_LIMIT": "1000000/minute", "VIGIL_TOTAL_LIMIT": "1000000/minute"}
WATCHED = "watched.txt"
PATIENCE = 60_000  # ms; the machine may be training beside this


@dataclass(frozen=True)
class Server:
    """A running app.py: where it answers, where its uploads lie, what it has written, which checkpoints it serves."""

    url: str
    uploads: Path
    log: Path
    checkpoints: Path
    process: subprocess.Popen[bytes]

    @property
    def watched(self) -> list[str]:
        """What it did that it should not: connections to elsewhere, unpickling (tests/watched)."""
        lines = self.log.with_name(WATCHED)
        return lines.read_text(encoding="utf-8").splitlines() if lines.is_file() else []


@contextmanager
def running(folder: Path, environment: Mapping[str, str], program: Sequence[str] = ("app.py",)) -> Iterator[Server]:
    """`python app.py`, or another `program`, on a free port with these settings, until the block ends; log and uploads
    go into `folder`."""
    log, uploads = folder / "app.log", folder / "uploads"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        **os.environ,
        **UNLIMITED,
        **environment,
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(uploads),
        "PYTHONPATH": str(ROOT / "tests" / "watched"),
        "WATCHED": str(folder / WATCHED),
    }
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, *program], cwd=ROOT, env=settings, stdout=stream, stderr=subprocess.STDOUT
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


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The page, opened; fails its test for any error on the console and any request to elsewhere."""
    opened = browser.new_page(viewport={"width": 1440, "height": 1000})
    opened.set_default_timeout(PATIENCE)
    wrong: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error":
            wrong.append(message.text)

    def asked(request: Request) -> None:
        if not request.url.startswith((server.url, "data:", "blob:")):
            wrong.append(f"request to {request.url}")

    opened.on("console", heard)
    opened.on("request", asked)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.goto(server.url)
    yield opened
    opened.close()
    assert not wrong


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole checkpoint of BreastMNIST, and no setting from outside."""
    for name in ("OWNER", "SKIN", "BREASTMNIST"):
        monkeypatch.delenv(f"VIGIL_WEIGHTS_{name}", raising=False)
    return made_up_checkpoints.write(tmp_path / "asked", "breastmnist")


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An embedded default for BreastMNIST, of other weights."""
    monkeypatch.setattr(weights, "EMBEDDED", tmp_path / "checkpoints")
    return made_up_checkpoints.write(tmp_path / "checkpoints" / "breastmnist", "breastmnist", seed=1)


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
