"""The API's functions as MCP tools, called with the real client on loopback."""

import ast
import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from gradio_client import Client, handle_file
from mcp.types import CallToolResult, ImageContent, TextContent
from PIL import Image

from src.page.blocks import NOT_UPLOADED
from src.service.arguments import NOT_A_THRESHOLD
from src.tasks import TASKS
from tests.support.app import ROOT, Server
from tests.support.mcp_client import asked

PICTURE = ROOT / "examples" / "breastmnist" / "oval.png"


def said(result: CallToolResult) -> str:
    """The first text of an answer."""
    return next(content.text for content in result.content if isinstance(content, TextContent))


@pytest.fixture(scope="module")
def upload(server: Server) -> str:
    """The server's path of an uploaded picture, under a name that needs quoting."""
    files = {"files": ("a picture.png", PICTURE.read_bytes())}
    return httpx.post(f"{server.url}/gradio_api/upload", files=files, timeout=60).json()[0]


def test_every_endpoint_is_a_tool_described_as_on_the_api_page(server: Server) -> None:
    tools = {tool.name: tool for tool in asked(server)[0]}
    endpoints = Client(server.url, verbose=False).view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {f"/{name}" for name in tools} == set(endpoints)
    for task in TASKS:
        tool, endpoint = tools[task], endpoints[f"/{task}"]
        assert (tool.description or "").startswith(endpoint["description"])
        assert "not a diagnosis" in (tool.description or "")
        properties = tool.inputSchema["properties"]
        assert tool.inputSchema["required"] == ["image"]
        assert list(properties) == [one["parameter_name"] for one in endpoint["parameters"]]
        assert (properties["image"]["type"], properties["threshold"]["type"]) == ("string", "number")
        assert "format" not in properties["image"], "Gradio would ask for an address"
        assert properties["explain"]["enum"] == ["Grad-CAM", "Guided Grad-CAM", "none"]
    for endpoint in endpoints.values():
        for one in (*endpoint["parameters"], *endpoint["returns"]):
            assert one["python_type"]["description"], "each argument and result is described"
        assert "example_input" in endpoint["parameters"][0]


def test_the_answer_is_the_apis_by_path_and_by_address(server: Server, upload: str) -> None:
    expected, _ = Client(server.url, verbose=False).predict(handle_file(PICTURE), 0.3, api_name="/breastmnist")
    addresses = (upload, f"{server.url}/gradio_api/file={quote(upload)}")
    for answer in asked(server, *({"image": image, "threshold": 0.3} for image in addresses))[1]:
        assert not answer.isError
        assert ast.literal_eval(said(answer)) == expected
        (heat,) = (content for content in answer.content if isinstance(content, ImageContent))
        with Image.open(BytesIO(base64.b64decode(heat.data))) as drawn:
            assert list(drawn.size) == expected["size"]


@pytest.fixture(scope="module")
def canary() -> Iterator[tuple[str, list[str]]]:
    """An address on loopback, and what was asked of it."""
    hits: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hits.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PICTURE.read_bytes())

        do_HEAD = do_GET  # noqa: N815 - as http.server names it

        def log_message(self, *_: Any) -> None:
            pass

    service = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{service.server_port}", hits
    service.shutdown()


def test_what_is_no_upload_is_refused_and_not_fetched(server: Server, canary: tuple[str, list[str]]) -> None:
    address, hits = canary
    before = {file for file in server.uploads.rglob("*") if file.is_file()}
    images = (
        f"data:image/png;base64,{base64.b64encode(PICTURE.read_bytes()).decode()}",
        f"{address}/x.png",
        f"{address}/gradio_api/file=/etc/passwd",
        f"{server.url}/gradio_api/file={address}/x.png",
        f"{server.url}/gradio_api/file=../../../etc/passwd",
        "file:///etc/passwd",
        f"file://{PICTURE}",
        "/etc/passwd",
        "requirements.txt",
        "",
    )
    for image, answer in zip(images, asked(server, *({"image": image} for image in images))[1], strict=True):
        assert answer.isError, image
        assert said(answer).endswith(NOT_UPLOADED)
    assert not hits
    assert {file for file in server.uploads.rglob("*") if file.is_file()} == before, "nothing is put on disk"


def test_wrong_arguments_are_refused_without_a_trace(server: Server, upload: str) -> None:
    wrong = ({"threshold": 2}, {"threshold": "x"}, {"explain": "all"}, {"image": 5}, {"image": None}, {"further": 1})
    _, answers = asked(server, *({"image": upload, **one} for one in wrong))
    assert said(answers[0]).endswith(NOT_A_THRESHOLD)
    for answer in answers:
        assert answer.isError
        assert "Traceback" not in said(answer)
        assert len(said(answer)) < 300
    assert asked(server, {}, tool="no_such_tool")[1][0].isError
    log = server.log.read_text()
    assert "no_such_tool" not in log
    assert "a picture" not in log
