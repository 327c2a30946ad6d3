"""The addresses of the slide viewer, on the running app."""

import json
import re

import httpx
import pytest

from tests.support.app import Server


@pytest.fixture(scope="module")
def slide_id(server: Server) -> str:
    """The id of the drawn example, which the page's configuration has."""
    config = httpx.get(f"{server.url}/config").text
    found = re.search(r'"Drawn example: drawn_node.tif",\s*"([\w-]{20,})"', config)
    assert found is not None
    return found[1]


def test_the_viewer_and_its_tiles_are_served(server: Server, slide_id: str) -> None:
    script = httpx.get(f"{server.url}/slides/viewer.js")
    assert script.headers["content-type"].startswith("text/javascript")
    tile = httpx.get(f"{server.url}/slides/{slide_id}/8/0_0.jpg", timeout=60)
    assert tile.status_code == 200
    assert tile.content.startswith(b"\xff\xd8")
    assert "private" in tile.headers["cache-control"]
    assert tile.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/slides/unknown-id-of-a-slide/1/0_0.jpg",
        "/slides/",
        "/slides/viewer.js.map",
        "/slides/../app.py",
        "/slides/{id}/1/../../../../etc/passwd",
        "/slides/{id}/1/0_0.png",
        "/slides/{id}/0/0_0.jpg",
        "/slides/{id}/3/-1_0.jpg",
        "/slides/{id}/1/99999_0.jpg",
        "/slides/{id}/999999/0_0.jpg",
        "/slides/{id}/1/0_0.jpg/",
        "/slides/{id}%2f1%2f0_0.jpg%00",
    ],
)
def test_other_addresses_are_not_found(path: str, server: Server, slide_id: str) -> None:
    answer = httpx.get(server.url + path.replace("{id}", slide_id), timeout=60)
    assert answer.status_code == 404
    assert set(json.loads(answer.text)) == {"detail"}


def test_only_get_is_open(server: Server, slide_id: str) -> None:
    for method in ("POST", "PUT", "DELETE", "HEAD"):
        assert httpx.request(method, f"{server.url}/slides/{slide_id}/8/0_0.jpg").status_code == 404
