"""app.py in a process of its own, on a free port, with an audit hook that records forbidden actions."""

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

from src.models import engine_choice

ROOT = Path(__file__).resolve().parent.parent.parent
"""The repository."""
AUDIT = Path(__file__).with_name("audit")
"""The folder whose sitecustomize.py every process of the app loads."""
STARTED_WITHIN = 600  # seconds; about 15 on an idle machine, minutes beside a training

PORTS = 5
"""The number of ports that are tried."""
PORT_TAKEN = "another program listens on port"
"""A part of the sentence with which the app ends if its port is in use."""

# All tests are one visitor.
UNLIMITED = {"VIGIL_VISITOR_LIMIT": "1000000/minute", "VIGIL_TOTAL_LIMIT": "1000000/minute"}


def audit_environment(lines: Path) -> dict[str, str]:
    """The variables that make a Python process write its violations into the file `lines`."""
    return {"PYTHONPATH": str(AUDIT), "AUDIT_FILE": str(lines)}


@dataclass(frozen=True)
class Server:
    """A running app.py: its address, the folder of its uploads, its log, the file of its audit hook, the folder of the
    checkpoints it serves, and its process."""

    url: str
    uploads: Path
    log: Path
    audit: Path
    checkpoints: Path
    process: subprocess.Popen[bytes]

    @property
    def violations(self) -> list[str]:
        """Connections to other machines and uses of torch.load, by any process of the app, one line each.

        Raises AssertionError where the app's process runs without the audit hook, since nothing would be seen then.
        """
        lines = self.audit.read_text(encoding="utf-8").splitlines() if self.audit.is_file() else []
        assert f"audited {self.process.pid}" in lines, "the app runs without its audit hook"
        return [line for line in lines if not line.startswith("audited ")]


def has_torch(pid: int) -> bool:
    """Whether this process has loaded torch."""
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")


@contextmanager
def running(folder: Path, environment: Mapping[str, str], program: Sequence[str] = ("app.py",)) -> Iterator[Server]:
    """`python app.py`, or another `program`, on a free port with these settings, until the block ends; log and uploads
    go into `folder`.

    Another program may take the port before the app does. The app then ends with the sentence PORT_TAKEN and is started
    again with another port, PORTS times at most.
    """
    for _ in range(PORTS):
        server = _start(folder, environment, program, free_port())
        try:
            if _answers(server):
                yield server
                # Only the worker processes need torch. In the app's own process it would take 0.4 GB more.
                assert program != ("app.py",) or server.process.poll() is not None or not has_torch(server.process.pid)
                return
        finally:
            server.process.terminate()
            server.process.wait(30)
        if PORT_TAKEN not in server.log.read_text(errors="replace"):
            break
    pytest.fail(f"app.py does not answer:\n{server.log.read_text(errors='replace')[-3000:]}")


def free_port() -> int:
    """A port of 127.0.0.1 at which nothing listens now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _start(folder: Path, environment: Mapping[str, str], program: Sequence[str], port: int) -> Server:
    log, uploads, audit = folder / "app.log", folder / "uploads", folder / "audit.txt"
    settings = {
        **os.environ,
        engine_choice.VARIABLE: engine_choice.ENGINES[0],
        **UNLIMITED,
        **environment,
        **audit_environment(audit),
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(uploads),
    }
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, *program], cwd=ROOT, env=settings, stdout=stream, stderr=subprocess.STDOUT
        )
    return Server(f"http://127.0.0.1:{port}", uploads, log, audit, folder, process)


def _answers(server: Server) -> bool:
    """Wait until the app answers. False if its process ends before that, or takes longer than STARTED_WITHIN."""
    until = time.monotonic() + STARTED_WITHIN
    while time.monotonic() < until and server.process.poll() is None:
        try:
            urllib.request.urlopen(server.url, timeout=5).close()
        except OSError:
            time.sleep(0.3)
        else:
            return True
    return False
