"""src/page/views/api_calls.py: the calls name each argument of the endpoint, in its order."""

import ast
import inspect
import json
import re
from typing import Any

import pytest

from src.page.endpoints import endpoint
from src.page.views.api_calls import api_calls
from src.service.worker_pool import ThreadWorkerPool
from src.tasks import TASKS
from tests.support.markup import Element, parse

GIVEN: dict[str, Any] = {"threshold": 0.187, "explain": "Guided Grad-CAM", "code": "", "model": "x-small", "mpp": 0.5}


@pytest.mark.parametrize("task", TASKS)
def test_the_calls_have_all_arguments(task: str) -> None:
    shown = parse(api_calls(TASKS[task], *GIVEN.values()))
    in_python, in_javascript, in_curl = (one.text for one in shown.find("code") if len(one.text) > 20)
    names = list(inspect.signature(endpoint(TASKS[task], [task], ThreadWorkerPool({}))).parameters)[1:]
    expected = {name: GIVEN[name] for name in names}

    calls = [one for one in ast.walk(ast.parse(source(shown, 0))) if isinstance(one, ast.Call)]
    (call,) = (one for one in calls if isinstance(one.func, ast.Attribute) and one.func.attr == "predict")
    found = {one.arg: ast.literal_eval(one.value) for one in call.keywords}
    assert found == expected | {"api_name": f"/{task}"}
    assert list(found)[:-1] == names, in_python

    written = dict(re.findall(r"(\w+): ([^,]+),", in_javascript.split("handle_file")[-1]))
    assert {name: json.loads(value) for name, value in written.items() if name in names} == expected
    data = in_curl[in_curl.index("}},") + 3 : in_curl.index("]}")]
    assert json.loads(f"[{data}]") == list(expected.values())
    assert [one.text for one in shown.find("span", attribute="data-figure")] == ["0.187"] * 3, "they follow the slider"


def source(shown: Element, place: int) -> str:
    """The code with its lines, which `text` joins."""
    return written(shown.find("pre")[place])


def written(element: Element) -> str:
    return "".join(part if isinstance(part, str) else written(part) for part in element.content)
