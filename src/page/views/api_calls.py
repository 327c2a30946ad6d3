"""The call of the API that gives the present answer, in Python, JavaScript and curl, as HTML.

Knows nothing of Gradio. The address of the server is filled in by the browser, because only the visitor's browser knows
under which address the page was reached (page.js).
"""

import json
from typing import Any

from src.page.render import render
from src.tasks import Task


def api_calls(task: Task, threshold: float, explain: str, code: str, model: str, mpp: float | None) -> str:
    """The calls for an image of `task` with these arguments of its endpoint; `mpp` only for a task with a scale."""
    arguments: dict[str, Any] = {"threshold": threshold, "explain": explain, "code": code, "model": model}
    if task.mpp is not None:
        arguments["mpp"] = mpp
    return render(
        "api_calls.html",
        task=task,
        in_python=[(name, repr(value)) for name, value in arguments.items()],
        in_json=[(name, json.dumps(value)) for name, value in arguments.items()],
    )
