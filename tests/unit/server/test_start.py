"""The start of the app: it waits for no quick answer, and the first visitor waits for no loading."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from src.server.routes import HEALTH
from src.tasks import TASKS
from tests.support import synthetic_checkpoints
from tests.support.app import ROOT, STARTED_WITHIN, running

pytestmark = pytest.mark.slow

SLOW = """
import asyncio, runpy, httpx, uvicorn
def head(*_, **__):
    raise httpx.ReadTimeout("The machine is busy.")
httpx.head = head
startup = uvicorn.Server.startup
async def slow_startup(server, sockets=None):
    await asyncio.sleep(6)
    await startup(server, sockets)
uvicorn.Server.startup = slow_startup
runpy.run_path("app.py", run_name="__main__")
"""
LAST_STEP = "Launching MCP server"
"""Gradio prints this line at the end of its start. It gives uvicorn 5 s, and its own page 3 s to answer."""


def test_a_busy_machine_starts_however_long_it_takes(tmp_path: Path) -> None:
    asked = {f"VIGIL_WEIGHTS_{task.upper()}": str(synthetic_checkpoints.write(tmp_path / task, task)) for task in TASKS}
    with running(tmp_path, {**asked, "PYTHONUNBUFFERED": "1", "VIGIL_ENGINE": "torch"}, ("-c", SLOW)) as app:
        until = time.monotonic() + STARTED_WITHIN
        while LAST_STEP not in app.log.read_text() and app.process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        assert LAST_STEP in app.log.read_text(), app.log.read_text()[-2000:]
        assert httpx.get(app.url + HEALTH, timeout=60).text == "ok"


FIRST_CALL = """
import json, sys, urllib.request
import gradio as gr
from src.fair_queue import Turns
from src.page.blocks import Page
from src.server import environment, middleware

claimed = environment.prepare()
with Page() as page:
    number = gr.Number()
    number.change(lambda value: value, number, number, api_name="follow", api_visibility="private", queue=False)
kwargs = middleware.app_kwargs(claimed, Turns(1, patience=20))
_, url, _ = page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, app_kwargs=kwargs)
urllib.request.urlopen(url + "healthz").close()
before = set(sys.modules)
body = json.dumps({"data": [7], "fn_index": 0}).encode()
asked = urllib.request.Request(url + "gradio_api/run/follow", body, {"Content-Type": "application/json"})
with urllib.request.urlopen(asked) as answer:
    assert json.load(answer)["data"] == [7]
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_the_first_call_imports_no_library(tmp_path: Path) -> None:
    """Gradio imported pyplot in the first call, and the server answered nobody for 0.3 to 3 s."""
    settings = {**os.environ, "GRADIO_TEMP_DIR": str(tmp_path), "GRADIO_ANALYTICS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALL], cwd=ROOT, env=settings, stdout=subprocess.PIPE, check=True, timeout=300
    )
    imported = json.loads(done.stdout.splitlines()[-1])
    assert len(imported) < 5, imported


def test_an_older_python_ends_with_one_sentence() -> None:
    older = "import runpy, sys; sys.version_info = (3, 10, 13); runpy.run_path('app.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", older], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Vigil needs Python 3.11, and this is Python ")
    assert done.stderr.count("\n") == 1
