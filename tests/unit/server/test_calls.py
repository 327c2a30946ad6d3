"""src/server/calls.py: a call that names a file outside its file arguments is refused, and nothing is downloaded."""

import json
from typing import Any

import gradio as gr
import pytest
from gradio_client.utils import is_file_obj, is_file_obj_with_meta, is_file_obj_with_url

from src.page.blocks import no_file
from src.server.calls import NO_FILE, Calls, FileArguments, names_a_file
from src.server.errors import NOT_UNDERSTOOD
from src.server.rate_limit import Allowed, RateLimits
from src.server.refusal import Refusal
from src.server.routes import JOIN, MOUNTED, RUN
from tests.attack.fetching import FILE
from tests.support.asgi import Took

ADDRESS = "http://n1.vigil.invalid/x.png"
NAMED: list[Any] = [
    {"path": ADDRESS, **FILE},
    {"path": "/etc/passwd", **FILE},
    {"path": ADDRESS},
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
    "value", [None, 0.3, ADDRESS, [], {}, {"meta": "x"}, {"meta": {}}, [{"name": "path"}], ["url"], {"url": ADDRESS}]
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


def test_a_function_that_the_server_does_not_run_is_refused() -> None:
    with gr.Blocks() as page:
        text = gr.Textbox()
        gr.on([], lambda words: words, text, text)
        gr.on([], None, text, text, js="(words) => words")
    calls = Calls(Took(), FileArguments.of(page), RateLimits(Allowed.from_environment()))

    def check(number: object, path: str = JOIN) -> Refusal | None:
        return calls.check(path, json.dumps({"fn_index": number, "data": ["a"], "session_hash": "s"}).encode())[0]

    assert check(0) is None
    others: tuple[object, ...] = (1, 2, -1, 10**30, "0", 0.5, [0], {})
    for number in others:
        assert check(number) == NOT_UNDERSTOOD
        assert check(number, RUN + "predict") == NOT_UNDERSTOOD


@pytest.mark.parametrize("path", [JOIN, MOUNTED, "/gradio_api/call/skin"])
def test_half_of_a_surrogate_pair_is_refused(path: str) -> None:
    calls = Calls(Took(), FileArguments({}, {}), RateLimits(Allowed.from_environment()))
    for body in (r'{"id": "\ud800"}', r'{"\udc00": 1}', r'["\ud83d\ud83d\ude00"]'):
        assert calls.check(path, body.encode())[0] == NOT_UNDERSTOOD
    assert calls.check(path, rb'{"id": "\ud83d\ude00"}')[0] is None
