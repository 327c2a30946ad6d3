"""Starts Vigil's app and an empty Gradio app, calls them over HTTP, and measures their memory and speed.

All traffic goes to 127.0.0.1.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
STARTS_WITHIN = 300  # seconds
EMPTY = """
import gradio
gradio.Interface(lambda image: "", gradio.Image(type="filepath"), "text", api_name="skin").launch(
    server_port={port}, quiet=True, ssr_mode=False
)
"""
IMPORTS = "import gradio, torch, timm"


@dataclass(frozen=True)
class Server:
    """A running server: its address, its process, and the time.perf_counter() of its start."""

    url: str
    process: subprocess.Popen[bytes]
    started: float

    def memory(self) -> float:
        """The memory of all its processes in megabytes; shared pages count once (PSS). NaN except on Linux."""
        pids = [self.process.pid, *_descendants(self.process.pid)]
        sizes = [_pss(pid) for pid in pids]
        return sum(sizes) if sizes else float("nan")


@contextmanager
def vigil(**environment: str) -> Iterator[Server]:
    """Vigil's app with these further settings and without rate limits."""
    limits = {"VIGIL_VISITOR_LIMIT": "1000000/minute", "VIGIL_TOTAL_LIMIT": "1000000/minute"}
    with _running(["app.py"], limits | environment) as server:
        yield server


@contextmanager
def empty() -> Iterator[Server]:
    """A Gradio app that takes an image and returns an empty text: no Gradio page costs less."""
    with _running(["-c", EMPTY], {}) as server:
        yield server


def imports() -> float:
    """Seconds that a new process takes to import gradio, torch and timm."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return time.perf_counter() - started


class Client:
    """A visitor's client: uploads a file, calls an endpoint and waits for its answer, over one connection."""

    def __init__(self, server: Server) -> None:
        self._http = httpx.Client(base_url=server.url, timeout=STARTS_WITHIN)

    def answer(self, endpoint: str, file: Path, further: Sequence[Any] = ()) -> Any:
        """The data that `endpoint` returns for an image file and the `further` arguments. Raises RuntimeError."""
        with file.open("rb") as stream:
            sent = self._http.post("/gradio_api/upload", files={"files": (file.name, stream)})
        image = {"path": sent.raise_for_status().json()[0], "meta": {"_type": "gradio.FileData"}}
        called = self._http.post(f"/gradio_api/call/{endpoint}", json={"data": [image, *further]})
        events = self._http.get(f"/gradio_api/call/{endpoint}/{called.raise_for_status().json()['event_id']}")
        kind, data = [line for line in events.text.splitlines() if line][-2:]
        if kind != "event: complete":
            raise RuntimeError(f"{endpoint}: {kind}, {data}")
        return json.loads(data.removeprefix("data: "))


def answers_per_second(
    server: Server, endpoint: str, file: Path, further: Sequence[Any], clients: int, n: int
) -> float:
    """The answers per second that all `clients` together get. They make `n` calls in all, without a pause."""
    callers = [Client(server) for _ in range(clients)]
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda i: callers[i % clients].answer(endpoint, file, further), range(n)))
    return n / (time.perf_counter() - started)


@contextmanager
def _running(program: Sequence[str], environment: Mapping[str, str]) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        quiet = {"GRADIO_ANALYTICS_ENABLED": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_TEMP_DIR": folder}
        settings = {**os.environ, **quiet, **environment, "GRADIO_SERVER_PORT": str(port)}
        arguments = [one.replace("{port}", str(port)) for one in program]
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            server = Server(f"http://127.0.0.1:{port}", process, started)
            _wait(server)
            yield server
        finally:
            process.terminate()
            process.wait(60)


def _wait(server: Server) -> None:
    """Wait until the server answers. Raises RuntimeError if it ends before, or takes longer than STARTS_WITHIN."""
    # One client for all tries: a new one reads all certificates, which would slow the start that is measured.
    with httpx.Client(timeout=5) as client:
        while server.process.poll() is None and time.perf_counter() < server.started + STARTS_WITHIN:
            try:
                client.get(server.url)
            except httpx.HTTPError:
                time.sleep(0.05)
            else:
                return
    raise RuntimeError(f"{server.url} does not answer.")


def _descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *_descendants(child)]
    return found


def _pss(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0  # the process has ended
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e3
