"""Calls of a running app.py: through gradio_client, and through plain HTTP for requests that no client sends."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import httpx
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from tests.support.app import ROOT, Server

EXAMPLE = {
    "skin": "skin/irregular.jpg",
    "ultrasound": "ultrasound/spiculated.jpg",
    "breastmnist": "breastmnist/oval.png",
    "histopathology": "histopathology/nest.png",
}
"""Task -> the file in examples/ that the tests read."""


def example(task: str) -> Any:
    """The example of a task, as gradio_client uploads it."""
    return handle_file(ROOT / "examples" / EXAMPLE[task])


def picture(mode: str = "RGB", size: tuple[int, int] = (120, 90)) -> Image.Image:
    """The example of skin, resized."""
    with Image.open(ROOT / "examples" / EXAMPLE["skin"]) as opened:
        return opened.resize(size).convert(mode)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """An encoded image."""
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def sentence(call: Callable[[], Any]) -> str:
    """What the call is refused with: one sentence, and nothing of the code behind it."""
    with pytest.raises(AppError) as caught:
        call()
    text = str(caught.value)
    assert text.endswith(".")
    assert len(text) < 200
    assert "\n" not in text
    assert "Traceback" not in text
    assert "show_error" not in text, "Gradio's own words for an unexpected error"
    return text


def call(server: Server, body: str) -> str:
    """POST a body to /skin as it stands; what the server says in the end, as text."""
    address = f"{server.url}/gradio_api/call/skin"
    accepted = httpx.post(address, content=body, headers={"Content-Type": "application/json"}, timeout=60)
    if accepted.status_code != 200:
        assert 400 <= accepted.status_code < 500
        return accepted.text
    return httpx.get(f"{address}/{accepted.json()['event_id']}", timeout=60).text


def uploaded(server: Server, content: bytes = b"", name: str = "picture.png") -> dict[str, Any]:
    """What a client names a file by that it has uploaded."""
    content = content or (ROOT / "examples" / EXAMPLE["skin"]).read_bytes()
    answer = httpx.post(f"{server.url}/gradio_api/upload", files={"files": (name, content)}, timeout=60)
    return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}
