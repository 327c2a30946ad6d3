"""A running app refuses calls that name a file outside their file arguments, and downloads nothing."""

import json
from pathlib import Path

import httpx

from src.page.blocks import NOT_UPLOADED
from src.server.calls import NO_FILE
from src.server.errors import NOT_UNDERSTOOD
from src.server.routes import JOIN, MOUNTED
from tests.attack.bench import Bench
from tests.attack.fetching import FILE, fetching
from tests.support.app import Server

ADDRESS = "http://n1.vigil.invalid/x.png"


def test_it_is_refused_over_every_route_before_gradio_sees_it(server: Server) -> None:
    file = {"path": ADDRESS, **FILE}
    mcp = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    bodies = (
        ("/gradio_api/call/skin", {"data": [None, file, "none"]}),
        ("/gradio_api/call/skin", {"data": [None, 0.3, "none", "", "", file]}),
        ("/gradio_api/call/v2/skin", {"image": None, "threshold": file}),
        ("/gradio_api/call/v2/skin", {"image": None, "further": file}),
        (JOIN, {"fn_index": 10**6, "data": [file], "session_hash": "x"}),
        (JOIN, {"fn_index": 0, "data": [], "event_data": file, "session_hash": "x"}),
        ("/gradio_api/run/predict", {"fn_index": 0, "data": [], "event_data": {"a": [file]}}),
        (f"{MOUNTED}/", {**mcp, "params": {"name": "skin", "arguments": {"image": file}}}),
        (f"{MOUNTED}/", {**mcp, "params": {"name": "skin", "arguments": {"image": "x", "threshold": [file]}}}),
        (f"{MOUNTED}/", [{**mcp, "params": {"name": "skin", "arguments": {"image": {"path": "/etc/passwd", **FILE}}}}]),
    )
    headers = {"Accept": "application/json, text/event-stream"}
    with httpx.Client(base_url=server.url, timeout=60, headers=headers) as visitor:
        for path, body in bodies:
            said = visitor.post(path, json=body)
            assert (said.status_code, said.json()) == (NO_FILE.status, {"detail": NO_FILE.sentence}), path
            said = visitor.post(path, content=json.dumps(body).encode("utf-16"))
            assert said.status_code == 400
        for no_json in ("x", "{", '{"data": [}', "9" * 5000):
            said = visitor.post(JOIN, content=no_json, headers={"Content-Type": "application/json"})
            assert (said.status_code, said.json()["detail"]) == (400, NOT_UNDERSTOOD.sentence)
        for image in (file, {"path": "x", "url": ADDRESS, **FILE}):
            asked = visitor.post("/gradio_api/call/skin", json={"data": [image, 0.3, "none"]})
            said = visitor.get(f"/gradio_api/call/skin/{asked.json()['event_id']}")
            assert NOT_UPLOADED in said.text
    assert server.violations == []


def test_a_call_with_missing_or_unknown_arguments_is_not_understood(server: Server) -> None:
    """Over plain HTTP by name: Gradio fails with a traceback."""
    logged = server.log.stat().st_size
    for arguments in ({}, {"threshold": 0.3}, {"image": None, "unknown": 1}, {"": None}):
        said = httpx.post(f"{server.url}/gradio_api/call/v2/skin", json=arguments, timeout=60)
        assert (said.status_code, said.json()["detail"]) == (400, NOT_UNDERSTOOD.sentence), arguments
    assert b"Traceback" not in server.log.read_bytes()[logged:]


def test_no_argument_of_any_function_is_looked_up(server: Server, tmp_path: Path) -> None:
    (row,) = fetching(Bench(server, tmp_path))
    assert row.ok, row.outcome
    assert row.how_often > 3000
