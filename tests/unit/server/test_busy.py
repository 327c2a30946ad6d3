"""A busy server refuses calls that read an image with one sentence and the seconds to wait, on every route."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent

from src.fair_queue import TOO_BUSY, Turns
from src.page.blocks import Page, refused
from src.server import middleware
from src.server.disk import claim
from src.service.worker_pool import ThreadWorkerPool, WorkFailed
from tests.support import worker_functions
from tests.support.event_loop import run

SENTENCE = re.compile(re.escape(TOO_BUSY).replace(r"\{after\}", r"(\d+)"))
SECONDS = 20.0


@dataclass(frozen=True)
class Busy:
    """A served page whose one place is taken, and the path of an uploaded file."""

    url: str
    upload: str


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    work, started = ThreadWorkerPool({}, at_once=1), tmp_path_factory.mktemp("work") / "started"
    work.turns = Turns(1, patience=0.2)
    work.seconds = 2 * SECONDS

    async def read(image: Any) -> int:
        """Reads.

        Args:
            image: A picture.
        Returns:
            process: Its number.
        """
        try:
            if image["orig_name"] == "slow.png":
                return await work.call(worker_functions.process, SECONDS, started)
            return await work.call(worker_functions.process)
        except WorkFailed as failure:
            raise refused(str(failure)) from failure

    with Page() as page:
        image, at, shown = gr.Image(type="filepath"), gr.Slider(), gr.Number()
        gr.on([], read, image, shown, api_name="read", preprocess=False, concurrency_limit=None)
        at.change(lambda value: value, at, shown, api_name="follow", api_visibility="private", queue=False)
    page.queue(api_open=False)
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as pool:
        folder = tmp_path_factory.mktemp("uploads")
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        claimed = claim(folder)
        patch.setenv("GRADIO_TEMP_DIR", str(claimed.folder))
        _, url, _ = page.launch(
            prevent_thread_lock=True,
            server_name="127.0.0.1",
            quiet=True,
            ssr_mode=False,
            mcp_server=True,
            app_kwargs=middleware.app_kwargs(claimed, work.turns),
        )
        work.turns.patience = 10 * SECONDS  # until the first has begun
        path = httpx.post(f"{url}gradio_api/upload", files={"files": ("a.png", b"x")}).json()[0]
        first = pool.submit(call, url, path, "slow.png")
        until = time.monotonic() + 30
        while not started.exists() and time.monotonic() < until:
            time.sleep(0.02)
        work.turns.patience = 0.2
        yield Busy(url, path)
        page.close()
        del first


def call(url: str, path: str, name: str = "a.png") -> httpx.Response:
    """Ask over plain HTTP."""
    image = {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
    return httpx.post(f"{url}gradio_api/call/read", json={"data": [image]}, timeout=60)


def test_plain_http_gets_the_status_the_seconds_and_the_sentence(busy: Busy) -> None:
    answer = call(busy.url, busy.upload)
    found = SENTENCE.fullmatch(answer.json()["detail"])
    assert (answer.status_code, found and found[1]) == (503, answer.headers["retry-after"])


def test_gradio_client_shows_the_sentence(busy: Busy, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(AppError) as caught:
        Client(busy.url, verbose=False).predict(handle_file(tmp_path / "a.png"), api_name="/read")
    assert SENTENCE.search(str(caught.value))


def test_mcp_shows_the_sentence(busy: Busy) -> None:
    async def ask() -> str:
        async with (
            streamable_http_client(f"{busy.url}gradio_api/mcp/") as (receive, send, _),
            ClientSession(receive, send) as session,
        ):
            await session.initialize()
            result = await session.call_tool("read", {"image": busy.upload})
            assert result.isError
            return next(content.text for content in result.content if isinstance(content, TextContent))

    assert SENTENCE.search(run(ask()))


def test_the_threshold_can_be_moved_meanwhile(busy: Busy) -> None:
    config = httpx.get(f"{busy.url}config", timeout=60).json()
    (number,) = (each["id"] for each in config["dependencies"] if each["api_name"] == "follow")
    for value in range(30):
        body = {"fn_index": number, "data": [value], "session_hash": "dragging"}
        answer = httpx.post(f"{busy.url}gradio_api/run/predict", json=body, timeout=60)
        assert answer.json()["data"] == [value]
