"""Calls that name a file where none is asked for (src/server/calls.py): refused, and not fetched."""

import json
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio_client.utils import is_file_obj, is_file_obj_with_meta, is_file_obj_with_url

from src.page.blocks import NOT_UPLOADED, no_file
from src.server.calls import NO_FILE, FileArguments, names_a_file
from src.server.errors import NOT_UNDERSTOOD
from src.server.routes import JOIN, MOUNTED
from tests.attack.bench import Bench
from tests.attack.fetching import FILE, fetching
from tests.support.app import Server

ADDRESS = "http://n1.vigil.invalid/x.png"
NAMED: list[Any] = [
    {"path": ADDRESS, **FILE},
    {"path": "/etc/passwd", **FILE},
    {"path": ADDRESS},
    {"url": ADDRESS},
    {"path": None, "url": None},
    {"meta": {"_type": "gradio.FileData"}},
    {"meta": {"_type": "of a later version"}},
    {"image": {"path": ADDRESS, "is_stream": True}, "caption": ""},
    [[[{"a": [{"path": ADDRESS}]}]]],
    ({"path": ADDRESS},),
]


@pytest.mark.parametrize("value", NAMED)
def test_what_names_a_file(value: Any) -> None:
    assert names_a_file(value)
    with pytest.raises(gr.Error, match=NO_FILE.sentence):
        no_file(value)


@pytest.mark.parametrize(
    "value", [None, 0.3, ADDRESS, [], {}, {"meta": "x"}, {"meta": {}}, [{"name": "path"}], ["url"]]
)
def test_what_names_none(value: Any) -> None:
    assert not names_a_file(value)
    assert no_file(value) == value


def test_all_that_gradio_takes_for_a_file_names_one() -> None:
    for value in NAMED:
        for taken in (is_file_obj, is_file_obj_with_meta, is_file_obj_with_url):
            assert not (isinstance(value, dict) and taken(value)) or names_a_file(value)
    assert is_file_obj_with_meta(NAMED[0])


def test_which_arguments_are_files() -> None:
    with gr.Blocks() as page:
        text, image, files, out = gr.Textbox(), gr.Image(), gr.File(file_count="multiple"), gr.JSON()

        def read(words: Any, picture: Any, more: Any) -> Any:
            return words, picture, more

        gr.on([], read, [text, image, files], out, api_name="read")
    files_of = FileArguments.of(page)
    assert files_of.functions == {0: {1, 2}}
    assert files_of.endpoints == {"read": {1, 2, "picture", "more"}}

    def others(path: str, body: Any) -> str:
        return json.dumps(list(files_of.others(path, body)))

    for path, inside in (
        (JOIN, {"fn_index": 0}),
        ("/gradio_api/call/read", {}),
        ("/gradio_api/run/x", {"fn_index": 0}),
    ):
        assert others(path, {"data": ["a", "b", ["c"], "d"], "event_data": "e", **inside}).count('"') == 6
        for unknown in ({"fn_index": 7}, {"fn_index": None}, {"fn_index": [0]}, {}):
            if path != "/gradio_api/call/read":
                assert '"b"' in others(path, {"data": ["a", "b"], **unknown})
        assert '"b"' in others(path, {"data": {"1": "b"}, **inside})
        assert '"b"' in others(path, ["b"])
    assert (
        others("/gradio_api/call/v2/read", {"picture": "b", "words": "a", "more": "c", "data": ["d"]}) == '["a", ["d"]]'
    )
    call = {"method": "tools/call", "params": {"name": "read", "arguments": {"picture": "b"}}}
    assert '"b"' in others(MOUNTED, call)
    assert '"b"' in others(f"{MOUNTED}/", [{}, call])
    assert others(MOUNTED, {"params": {"capabilities": {"elicitation": {"url": {}}}}}) == "[null]"
    assert others(MOUNTED, ["x", 5, {"params": []}]) == "[null, null, null]"


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


def test_no_argument_of_any_function_is_looked_up(server: Server, tmp_path: Path) -> None:
    (row,) = fetching(Bench(server, tmp_path))
    assert row.ok, row.outcome
    assert row.how_often > 3000
