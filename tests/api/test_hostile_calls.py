"""Calls with wrong arguments, foreign paths or huge bodies: each is refused with a sentence, and nothing is logged."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file

from src.page import blocks, endpoints
from src.service.arguments import NOT_A_THRESHOLD, NOT_AN_EXPLANATION
from tests.support.api_calls import call, example, picture, saved, sentence, uploaded
from tests.support.app import Server


def str_of(value: object) -> str:
    return str(value)[:8]


@pytest.mark.parametrize("threshold", ["abc", None, [0.3], {}, True, -0.01, 1.01, 10**400], ids=str_of)
def test_wrong_threshold(client: Client, threshold: Any) -> None:
    assert sentence(lambda: client.predict(example("skin"), threshold, "none", api_name="/skin")) == NOT_A_THRESHOLD


@pytest.mark.parametrize("explain", ["grad-cam", None, ["none"], True])
def test_wrong_explanation(client: Client, explain: Any) -> None:
    assert sentence(lambda: client.predict(example("skin"), 0.3, explain, api_name="/skin")) == NOT_AN_EXPLANATION


@pytest.mark.parametrize("threshold", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none(server: Server, threshold: str) -> None:
    said = call(server, f'{{"data": [{json.dumps(uploaded(server))}, {threshold}, "none"]}}')
    assert "p_malignant" not in said
    assert "Traceback" not in said


FILE = {"meta": {"_type": "gradio.FileData"}}


DATA_URL = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (None, endpoints.NO_IMAGE),
        *(
            (image, blocks.NOT_UPLOADED)
            for image in (
                5,
                "x",
                "/etc/passwd",
                True,
                [],
                ["x"],
                {},
                {"path": None},
                {"path": "/etc/passwd"},
                {"path": "requirements.txt"},
                {"path": ["x"], **FILE},
                {"url": DATA_URL, **FILE},
                {"path": None, "url": DATA_URL, **FILE},
                {"path": "http://127.0.0.1:9/x.png", **FILE},
                {"path": "https://example.org/x.png", "url": "https://example.org/x.png", **FILE},
            )
        ),
    ],
)
def test_only_uploaded_files_are_opened(server: Server, image: Any, expected: str) -> None:
    said = call(server, json.dumps({"data": [image, 0.3, "none"]}))
    assert expected in said
    assert "p_malignant" not in said


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "requirements.txt", "../../etc/passwd", DATA_URL, "", "\x00", "a" * 9999]
)
def test_paths_of_the_server_are_not_opened(server: Server, path: str) -> None:
    said = call(server, json.dumps({"data": [{"path": path, **FILE}, 0.3, "none"]}))
    assert blocks.NOT_UPLOADED in said


def test_a_path_out_of_the_upload_folder_is_not_opened(server: Server) -> None:
    for path in (
        f"{server.uploads}/../{server.checkpoints.name}/app.log",
        str(server.uploads),
        f"{server.uploads}/gone",
    ):
        said = call(server, json.dumps({"data": [{"path": path, **FILE}, 0.3, "none"]}))
        assert blocks.NOT_UPLOADED in said


def test_a_data_url_beside_an_upload_is_not_read(server: Server) -> None:
    said = call(server, json.dumps({"data": [{**uploaded(server), "url": DATA_URL}, 0.3, "none"]}))
    assert "p_malignant" in said


def test_too_large_an_upload_is_refused(server: Server) -> None:
    answer = httpx.post(f"{server.url}/gradio_api/upload", files={"files": ("a.png", b"0" * 13_000_000)}, timeout=60)
    assert answer.status_code == 413


def test_nothing_of_a_picture_or_a_trace_is_logged(server: Server, client: Client, tmp_path: Path) -> None:
    (tmp_path / "jane-doe-1960.png").write_bytes(saved(picture(), "PNG"))
    (tmp_path / "john-doe-1961.png").write_bytes(b"not an image")
    client.predict(handle_file(tmp_path / "jane-doe-1960.png"), 0.3, "none", api_name="/skin")
    sentence(lambda: client.predict(handle_file(tmp_path / "john-doe-1961.png"), 0.3, "none", api_name="/skin"))
    log = server.log.read_text()
    assert "doe" not in log
    assert server.process.poll() is None
