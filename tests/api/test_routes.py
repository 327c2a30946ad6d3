"""The open routes of Gradio, and that no route makes the app connect to another address."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import gradio as gr
import httpx
import pytest
from gradio.routes import App
from starlette.routing import BaseRoute, Mount

from src.server.refusal import UPLOAD
from src.server.routes import HEALTH, MOUNTED, OPEN, is_call, is_open, leaves_files
from tests.attack.server import spellings
from tests.support.app import Server
from tests.support.canary import Canary
from tests.support.gradio_routes import CLOSED, example


def flat(routes: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    """Method and path of every route; of a mounted app only where it is."""
    for route in routes:
        if included := getattr(route, "original_router", None):
            yield from flat(included.routes)
        elif isinstance(route, Mount):
            yield "", route.path
        else:
            for method in getattr(route, "methods", None) or {""}:
                yield method, getattr(route, "path", repr(route))


def test_every_route_of_the_installed_gradio_is_known_as_open_or_closed() -> None:
    with gr.Blocks() as page:
        pass
    page.run_history = False
    page.max_file_size = None
    have = set(flat(App.create_app(page, mcp_server=True).routes))
    # Many of Gradio's paths are there with a slash at the end too; no one asks for those.
    slashed = {(method, path) for method, path in have if path != "/" and path.endswith("/")}
    assert have - slashed == OPEN | CLOSED | {("", MOUNTED)}
    assert {(method, path.rstrip("/")) for method, path in slashed} <= OPEN | CLOSED


def test_the_list_decides() -> None:
    for method, path in OPEN:
        assert is_open(method, example(path), {"skin"}), path
    for method, path in CLOSED:
        assert not is_open(method, example(path), {"skin"}), path
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "POST"):
        assert not is_open(method, "/", {"skin"})
    assert not is_open("POST", "/gradio_api/call/other", {"skin"})
    assert not is_open("POST", "/gradio_api/call/v2/other", {"skin"})
    assert is_open("POST", f"{MOUNTED}/", {"skin"})
    assert not is_open("POST", f"{MOUNTED}x", {"skin"})


def test_what_is_closed_is_not_found(server: Server) -> None:
    with httpx.Client(base_url=server.url) as visitor:
        for method, path in sorted(CLOSED):
            said = visitor.request(method, example(path))
            assert said.status_code == 404, path
            assert said.headers["content-security-policy"]
        assert visitor.get(HEALTH).text == "ok"
        # As HARDENING.md saw it mirrored
        preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        for said in (visitor.options(UPLOAD, headers=preflight), visitor.get("/config", headers=preflight)):
            assert not [name for name in said.headers if name.startswith("access-control")]


@pytest.fixture
def canary() -> Iterator[Canary]:
    canary = Canary()
    yield canary
    canary.listening.close()


def test_no_spelling_of_an_address_is_asked(server: Server, canary: Canary) -> None:
    addresses = spellings(canary.port)
    assert len(set(addresses)) >= 30
    with httpx.Client(base_url=server.url, timeout=60) as visitor:
        for i, address in enumerate(addresses):
            for way in WAYS:
                said = way(visitor, address)
                assert said.status_code in (400, 403, 404), said.text
            images = ({"path": address, **FILE}, {"path": "x", "url": address, **FILE}, address, [address])
            asked = call_in_turn(visitor, {"data": [images[i % 4], 0.3, "none"]})
            said = visitor.get(f"/gradio_api/call/skin/{asked.json()['event_id']}")
            assert "Upload the file first" in said.text
            if i % 10 == 0:
                call = {"method": "tools/call", "params": {"name": "skin", "arguments": {"image": address}}}
                said = visitor.post(MOUNTED + "/", json={"jsonrpc": "2.0", "id": 1, **call}, headers=MCP)
                assert '"isError":true' in said.text
                assert "p_malignant" not in said.text
    assert canary.hits == 0


def call_in_turn(visitor: httpx.Client, body: dict[str, Any]) -> httpx.Response:
    """Call the endpoint "skin". A busy app refuses a call whose turn would come too late, so wait and repeat."""
    for _ in range(10):
        asked = visitor.post("/gradio_api/call/skin", json=body)
        if asked.status_code != 503:
            break
        time.sleep(int(asked.headers["Retry-After"]))
    assert asked.status_code == 200, asked.text
    return asked


MCP = {"Accept": "application/json, text/event-stream"}
FILE = {"meta": {"_type": "gradio.FileData"}}
WAYS: list[Callable[[httpx.Client, str], httpx.Response]] = [
    lambda visitor, address: visitor.get(f"/gradio_api/file={address}"),
    lambda visitor, address: visitor.get(f"/gradio_api/file={quote(address, safe='')}"),
    lambda visitor, address: visitor.get(f"/gradio_api/file/{address}"),
    lambda visitor, address: visitor.get(f"/gradio_api/file=/{address}"),
    lambda visitor, address: visitor.get(f"/gradio_api/proxy={address}"),
    lambda visitor, address: visitor.post("/gradio_api/upload", json={"url": address}),
    lambda visitor, address: visitor.get("/gradio_api/deep_link", params={"session_hash": address}),
]


def test_the_canary_would_have_been_hit(canary: Canary) -> None:
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{canary.port}/")
    assert canary.hits == 1
    assert json.dumps(spellings(1))


def test_which_requests_are_calls_and_which_may_leave_a_file() -> None:
    def judged(method: str, path: str) -> tuple[bool, bool]:
        return is_call({"method": method, "path": path}), leaves_files({"method": method, "path": path})

    assert judged("POST", UPLOAD) == (False, True)
    for path in ("/gradio_api/queue/join", "/gradio_api/call/skin", "/gradio_api/call/v2/skin", f"{MOUNTED}/"):
        assert judged("POST", path) == (True, True)
        assert judged("GET", path) == (False, False)
    assert judged("POST", "/gradio_api/run/predict") == (True, False)
    assert judged("POST", "/gradio_api/cancel") == (False, False)
