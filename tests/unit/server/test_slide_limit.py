"""A higher limit for slides: it holds for one method of one path, and for nothing else."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from limits import parse

from src.fair_queue import Turns
from src.server.bodies import LIMIT, SLIDE_TOO_LARGE
from src.server.disk import Claim, Disk, claim
from src.server.hosts import AllowedHosts
from src.server.middleware import guarded
from src.server.rate_limit import Allowed
from src.server.refusal import UPLOAD
from src.server.routes import JOIN, MOUNTED, OPEN, SLIDE_UPLOAD, is_open, leaves_files
from tests.support import event_loop
from tests.support.gradio_routes import example

SLIDE_LIMIT = 3 * LIMIT
PIECE = b"--\0{[" * 2**17
"""Bytes that look like a form and like JSON in places."""
FORM = {"Content-Type": "multipart/form-data; boundary=edge"}


class Counted:
    """An app that takes what it is sent, and counts it by path."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            self.sizes[scope["path"]] = self.sizes.get(scope["path"], 0) + len(message.get("body", b""))
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def claimed(tmp_path: Path) -> Claim:
    return claim(tmp_path)


def served(app: Any, claimed: Claim, slide_limit: int) -> Any:
    limits = Allowed(parse("100000/minute"), parse("100000/minute"), 0)
    disk = Disk(claimed, room=100 * LIMIT, spare=0)
    return guarded(
        app,
        gr.Blocks(),
        disk,
        limits,
        AllowedHosts(frozenset("x")),
        Turns(1, patience=20),
        100,
        slide_limit=slide_limit,
    )


def ask(app: Any, method: str, path: str, size: int, headers: dict[str, str] | None = None) -> httpx.Response:
    """The answer to a request with `size` bytes."""

    content = (PIECE * (size // len(PIECE) + 1))[:size]

    async def request() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            return await client.request(method, path, content=content, headers=headers)

    return event_loop.run(request())


def test_a_slide_may_be_larger_than_anything_else(claimed: Claim) -> None:
    app = Counted()
    site = served(app, claimed, SLIDE_LIMIT)
    assert ask(site, "POST", SLIDE_UPLOAD, SLIDE_LIMIT).status_code == 200
    assert app.sizes == {SLIDE_UPLOAD: SLIDE_LIMIT}
    refused = ask(site, "POST", SLIDE_UPLOAD, SLIDE_LIMIT + 1)
    assert refused.status_code == 413
    assert refused.json()["detail"] == SLIDE_TOO_LARGE.format(megabytes=SLIDE_LIMIT // 10**6)
    assert app.sizes == {SLIDE_UPLOAD: SLIDE_LIMIT}, "it is refused before it is read"


@pytest.mark.parametrize(
    "path",
    sorted(
        {example(path) for method, path in OPEN if method == "POST"}
        | {
            MOUNTED,
            f"{SLIDE_UPLOAD}/",
            f"/{SLIDE_UPLOAD}",
            f"{SLIDE_UPLOAD}%2f",
            "/slides/UPLOAD",
            "/slides/x/1/0_0.jpg",
        }
    ),
)
def test_no_other_path_takes_such_a_body(path: str, claimed: Claim) -> None:
    app = Counted()
    site = served(app, claimed, SLIDE_LIMIT)
    for headers in ({}, FORM):
        assert ask(site, "POST", path, LIMIT + 1, headers).status_code in (404, 413)
    assert sum(app.sizes.values()) == 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_no_other_method_takes_such_a_body(method: str, claimed: Claim) -> None:
    app = Counted()
    assert ask(served(app, claimed, SLIDE_LIMIT), method, SLIDE_UPLOAD, LIMIT + 1).status_code == 404
    assert app.sizes == {}


@pytest.mark.parametrize("size", [1, LIMIT + 1])
def test_without_the_setting_there_is_no_such_path(size: int, claimed: Claim) -> None:
    app = Counted()
    assert ask(served(app, claimed, 0), "POST", SLIDE_UPLOAD, size).status_code == 404
    assert app.sizes == {}
    assert not is_open("POST", SLIDE_UPLOAD, set())
    assert is_open("POST", SLIDE_UPLOAD, set(), takes_slides=True)


def test_a_slide_that_does_not_say_its_size_is_refused(claimed: Claim) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield PIECE

    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(served(Counted(), claimed, SLIDE_LIMIT))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.post(SLIDE_UPLOAD, content=body())

    answered = event_loop.run(request())
    assert answered.status_code == 413
    assert "Content-Length" in answered.json()["detail"]


def test_an_upload_of_an_image_keeps_its_limit(claimed: Claim) -> None:
    app = Counted()
    site = served(app, claimed, SLIDE_LIMIT)
    assert ask(site, "POST", UPLOAD, LIMIT, FORM).status_code == 200
    assert ask(site, "POST", UPLOAD, LIMIT + 1, FORM).status_code == 413
    assert ask(site, "POST", JOIN, LIMIT + 1).status_code == 413
    assert app.sizes == {UPLOAD: LIMIT}


def test_slides_count_for_the_disk(claimed: Claim) -> None:
    limits = Allowed(parse("100000/minute"), parse("100000/minute"), 0)
    disk = Disk(claimed, room=2 * LIMIT, spare=0)
    hosts = AllowedHosts(frozenset("x"))
    site = guarded(Counted(), gr.Blocks(), disk, limits, hosts, Turns(1, patience=20), 100, slide_limit=SLIDE_LIMIT)
    assert [ask(site, "POST", SLIDE_UPLOAD, 2 * LIMIT).status_code for _ in range(2)] == [200, 507]
    assert leaves_files({"method": "POST", "path": SLIDE_UPLOAD})
