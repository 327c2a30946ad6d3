"""Gradio's queue ends what nobody waits for any more."""

import asyncio
import json
import threading
import time
import urllib.request
from http.client import HTTPConnection
from urllib.parse import urlsplit

import gradio as gr
import pytest

from src.page.blocks import Page


class Slow:
    """A page whose one function sleeps until it is cancelled, one visitor at a time."""

    def __init__(self) -> None:
        self.began, self.ended = threading.Semaphore(0), threading.Semaphore(0)
        with Page(analytics_enabled=False) as self.page:
            shown = gr.Number()
            gr.on([], self.sleep, None, shown, api_name="sleep", preprocess=False)
        self.page.queue(default_concurrency_limit=1, api_open=False)

    async def sleep(self) -> int:
        """Sleeps.

        Returns:
            seconds: None.
        """
        self.began.release()
        try:
            await asyncio.sleep(60)
        finally:
            self.ended.release()
        return 0


@pytest.mark.slow
def test_gradio_ends_what_nobody_waits_for() -> None:
    slow = Slow()
    _, url, _ = slow.page.launch(
        prevent_thread_lock=True, server_name="127.0.0.1", quiet=True, ssr_mode=False, share=False
    )
    try:
        address = urlsplit(url)

        def visit() -> HTTPConnection:
            """Ask, and wait for the answer."""
            asked = urllib.request.Request(
                f"{url}gradio_api/call/sleep", b'{"data": []}', {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(asked) as answer:
                event = json.load(answer)["event_id"]
            waiting = HTTPConnection(f"{address.hostname}:{address.port}")
            waiting.request("GET", f"/gradio_api/call/sleep/{event}")
            return waiting

        first, second = visit(), visit()
        assert slow.began.acquire(timeout=10)
        assert len(slow.page._queue) == 1
        second.close()
        until = time.monotonic() + 10
        while len(slow.page._queue) and time.monotonic() < until:
            time.sleep(0.05)
        assert len(slow.page._queue) == 0, "the place in the queue is free"
        first.close()
        assert slow.ended.acquire(timeout=10), "what was under way is cancelled"
        third = visit()
        assert slow.began.acquire(timeout=10), "the next one's turn has come"
        third.close()
        assert slow.ended.acquire(timeout=10)
    finally:
        slow.page.close()
