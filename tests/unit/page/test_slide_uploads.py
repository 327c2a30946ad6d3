"""The upload of a slide: what is taken, where it lies, and under which id."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from src.page import slide_uploads
from src.page.slide_uploads import SlideUploads
from src.slides import library
from src.slides.library import Offered
from tests.support import event_loop


def post(app: Any, name: str, content: bytes = b"x" * 1000) -> httpx.Response:
    async def request() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            return await client.post("/slides/upload", params={"name": name}, content=content)

    return event_loop.run(request())


@pytest.mark.parametrize("name", ["node.svs", "NODE.TIF", "a b/ü.ndpi", "../../etc/passwd.dcm", "x" * 150 + ".tiff"])
def test_a_slide_lies_in_the_folder_under_a_name_of_ours(name: str, tmp_path: Path) -> None:
    slides: dict[str, Offered] = {}
    answered = post(SlideUploads(slides, tmp_path), name)
    assert answered.status_code == 200
    (key,) = slides
    assert answered.json() == {"id": key}
    assert len(key) >= 20
    one = slides[key]
    assert (one.name, one.uploaded) == (name, True)
    assert one.file.read_bytes() == b"x" * 1000
    assert one.file.is_relative_to(tmp_path)
    assert one.file.stem == "slide"


@pytest.mark.parametrize("name", ["", "node", "node.png", "node.exe", "node.mrxs", "node.vms", ".svs"])
def test_what_is_no_slide_in_one_file_is_refused(name: str, tmp_path: Path) -> None:
    slides: dict[str, Offered] = {}
    answered = post(SlideUploads(slides, tmp_path), name)
    assert answered.status_code == 415
    assert answered.json()["detail"].endswith(".")
    assert slides == {}
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_space_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slide_uploads, "SPARE", 10**18)
    answered = post(SlideUploads({}, tmp_path), "node.svs")
    assert answered.status_code == 507
    assert list(tmp_path.iterdir()) == []


def test_nothing_stays_of_a_visitor_who_leaves(tmp_path: Path) -> None:
    slides: dict[str, Offered] = {}
    messages: Iterator[dict[str, Any]] = iter(
        [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]
    )

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(_: Any) -> None:
        pytest.fail("nobody is there")

    scope = {"type": "http", "query_string": b"name=node.svs", "headers": [], "path": "/slides/upload"}
    event_loop.run(SlideUploads(slides, tmp_path)(scope, receive, send))
    assert slides == {}
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_uploads_whose_files_are_gone_are_forgotten_and_others_stay(tmp_path: Path) -> None:
    kept = Offered("shared", tmp_path / "gone.svs", tmp_path)
    slides = {"shared": kept}
    app = SlideUploads(slides, tmp_path)
    first = post(app, "first.svs").json()["id"]
    second = post(app, "second.svs").json()["id"]
    slides[first].file.unlink()
    third = post(app, "third.svs").json()["id"]
    assert set(slides) == {"shared", second, third}
    assert library.SCORES in slides[third].scores.parts
