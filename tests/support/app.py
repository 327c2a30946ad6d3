"""app.py in a process of its own, on a free port, with an audit hook that writes down what it must never do."""

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

ROOT = Path(__file__).resolve().parent.parent.parent
"""The repository."""
AUDIT = Path(__file__).with_name("audit")
"""The folder whose sitecustomize.py every process of the app loads."""
STARTED_WITHIN = 600  # seconds; some 15 on an idle machine, minutes where trainings run beside this

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


@contextmanager
def running(folder: Path, environment: Mapping[str, str], program: Sequence[str] = ("app.py",)) -> Iterator[Server]:
    """`python app.py`, or another `program`, on a free port with these settings, until the block ends; log and uploads
    go into `folder`."""
    log, uploads, audit = folder / "app.log", folder / "uploads", folder / "audit.txt"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        **os.environ,
        **UNLIMITED,
        **environment,
        **audit_environment(audit),
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(uploads),
    }
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, *program], cwd=ROOT, env=settings, stdout=stream, stderr=subprocess.STDOUT
        )
    try:
        wait_for(url, process, log)
        yield Server(url, uploads, log, audit, folder, process)
    finally:
        process.terminate()
        process.wait(30)


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
