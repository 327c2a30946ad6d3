"""The app starts on a machine that is too busy to answer in the time that Gradio allows its own check."""

import time
from pathlib import Path

import httpx

from src.server.routes import HEALTH
from src.tasks import TASKS
from tests.support import synthetic_checkpoints
from tests.support.app import STARTED_WITHIN, running

NO_ANSWER = """
import runpy, httpx
def head(*_, **__):
    raise httpx.ReadTimeout("The machine is busy.")
httpx.head = head
runpy.run_path("app.py", run_name="__main__")
"""
LAST_STEP = "Launching MCP server"
"""Gradio prints this line after its check."""


def test_the_start_does_not_depend_on_an_answer_in_three_seconds(tmp_path: Path) -> None:
    asked = {f"VIGIL_WEIGHTS_{task.upper()}": str(synthetic_checkpoints.write(tmp_path / task, task)) for task in TASKS}
    with running(tmp_path, {**asked, "PYTHONUNBUFFERED": "1"}, ("-c", NO_ANSWER)) as app:
        until = time.monotonic() + STARTED_WITHIN
        while LAST_STEP not in app.log.read_text() and app.process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        assert LAST_STEP in app.log.read_text(), app.log.read_text()[-2000:]
        assert httpx.get(app.url + HEALTH, timeout=60).text == "ok"
