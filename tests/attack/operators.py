"""Invalid settings of an operator (section 11)."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

from src.server.settings import PORT
from tests.attack.bench import CANARIES, Bench, Checks
from tests.attack.row import Row
from tests.space import VARIABLES
from tests.support.app import ROOT

SETTINGS = (
    ("VIGIL_VISITOR_LIMIT", "0/minute"),
    ("VIGIL_VISITOR_LIMIT", "abc"),
    ("VIGIL_TOTAL_LIMIT", "120"),
    ("VIGIL_PROXIES", "-1"),
    ("VIGIL_VISITORS_LIMIT", "120/minute"),
    ("VIGIL_WRITER_URL", "example.org"),
    ("GRADIO_SERVER_PORT", "abc"),
    ("GRADIO_SERVER_PORT", "65536"),
    ("GRADIO_SERVER_NAME", "192.0.2.1"),
    ("GRADIO_NUM_PORTS", "all"),
    ("GRADIO_TEMP_DIR", "/proc/uploads"),
)
"""Of the last nobody can make a folder."""
STARTED = 300  # seconds


def settings(bench: Bench) -> Iterator[Row]:
    """Each alone, then a port at which another program listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        tried = [*SETTINGS[: 1 if bench.short else None], (PORT, str(other.getsockname()[1]))]
        wrong = []
        for name, value in tried:
            status, said = started({"GRADIO_SERVER_NAME": "127.0.0.1", PORT: "17999", name: value})
            if status != 2 or said.count("\n") != 1 or not said.startswith("app: ") or name not in said:
                wrong.append(f"{name}={value}: status {status}, {said[:100]!r}")
    yield Row(
        11,
        "Invalid limits, proxies, ports, names and folders, a misspelt variable, a port in use",
        len(tried),
        f"Each start ends with one sentence that names the variable and status 2; not so: "
        f"{'; '.join(wrong) or 'none'}.",
        not wrong,
    )


def started(environment: dict[str, str]) -> tuple[int | None, str]:
    """The exit status of an app that is started so, and what it wrote on standard error."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("VIGIL_", "GRADIO_"))}
    settings = {**inherited, **VARIABLES, **CANARIES, **environment}
    try:
        ended = subprocess.run(
            [sys.executable, "app.py"], cwd=ROOT, env=settings, capture_output=True, text=True, timeout=STARTED
        )
    except subprocess.TimeoutExpired:
        return None, "it runs"
    return ended.returncode, ended.stderr


CHECKS: Checks = {11: (settings,)}
