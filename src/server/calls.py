"""Calls of the page's functions: only a file argument may name a file, and only an uploaded image or table.

Gradio downloads every address, and copies every file, that an argument names as a FileData, whatever the purpose of the
argument and however deep in it. Such a body is therefore refused before Gradio receives it. src/page/blocks.py checks
the file arguments themselves, because the page knows which files were uploaded.
"""

import json
import time
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Final, Self

import gradio as gr
from gradio.utils import get_function_params
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.server.errors import NOT_UNDERSTOOD
from src.server.rate_limit import RateLimits, is_repeated, visitor_of
from src.server.refusal import UPLOAD, Refusal, answer
from src.server.routes import CALLED, CALLS, is_call, is_mcp, is_slide_upload

FILES: Final = (gr.Image, gr.File)
"""The components that take a file."""

NO_FILE: Final = Refusal(400, "Only an image or a table may be a file. This request names a file in another place.")


def names_a_file(value: object) -> bool:
    """Whether JSON has a value, at any depth, that Gradio treats as a file, or that earlier versions did."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Mapping):
            meta = each.get("meta")
            # Gradio treats nothing without a path as a file. Our own results have a `url` for each source that they
            # cite.
            if "path" in each or (isinstance(meta, Mapping) and "_type" in meta):
                return True
            waiting += each.values()
        elif isinstance(each, list | tuple):
            waiting += each
    return False


@dataclass(frozen=True)
class FileArguments:
    """The arguments of a page's functions that are files.

    `functions` has the positions of these arguments by the function's number, for every function that the server runs.
    The browser runs the others. `endpoints` has their positions and names by the endpoint's name.
    """

    functions: Mapping[int, Set[int | str]]
    endpoints: Mapping[str, Set[int | str]]

    @classmethod
    def of(cls, page: gr.Blocks) -> Self:
        """The file arguments of this page's functions."""
        functions: dict[int, Set[int | str]] = {}
        endpoints: dict[str, Set[int | str]] = {}
        for number, function in page.fns.items():
            if function.fn is None:
                continue
            positions: set[int | str] = {
                position for position, block in enumerate(function.inputs) if isinstance(block, FILES)
            }
            names = [name for name, *_ in get_function_params(function.fn)]
            functions[number] = positions
            endpoints[str(function.api_name)] = positions | {
                name for position, name in enumerate(names) if position in positions
            }
        return cls(functions, endpoints)

    def others(self, path: str, body: object) -> Iterator[object]:
        """All values of a request except the file arguments. MCP sends files as text, so all its arguments are
        included.
        """
        if is_mcp(path):
            for each in body if isinstance(body, list) else [body]:
                parameters = each.get("params") if isinstance(each, Mapping) else None
                # Other parts of an MCP message are no arguments, and may contain a `url`.
                yield parameters.get("arguments") if isinstance(parameters, Mapping) else None
            return
        if not isinstance(body, Mapping):
            yield body
            return
        called = CALLED.match(path)
        by_name = called is not None and called["by_name"]
        files = self._files(path, body)
        for name, value in body.items():
            if name == "data" and isinstance(value, list) and not by_name:
                yield [each for position, each in enumerate(value) if position not in files]
            elif not by_name or name not in files:
                yield value

    def images(self, path: str, body: object) -> int:
        """The number of calls of functions that read a file; an MCP request may have several."""
        if is_mcp(path):
            messages = body if isinstance(body, list) else [body]
            return sum(isinstance(each, Mapping) and each.get("method") == "tools/call" for each in messages)
        return int(isinstance(body, Mapping) and bool(self._files(path, body)))

    def has(self, path: str, body: object) -> bool:
        """Whether the server runs the function that a request names by its number, if it names one."""
        if not path.startswith(CALLS) or CALLED.match(path) or not isinstance(body, Mapping) or "fn_index" not in body:
            return True
        number = body["fn_index"]
        return number is None or (isinstance(number, int) and number in self.functions)

    def _files(self, path: str, body: Mapping[str, object]) -> Set[int | str]:
        """The arguments of the called function that are files."""
        if called := CALLED.match(path):
            return self.endpoints.get(called["endpoint"], frozenset())
        if isinstance(number := body.get("fn_index"), int):
            return self.functions.get(number, frozenset())
        return frozenset()


class Calls:
    """ASGI middleware that refuses a call which names a file outside its file arguments, and counts all calls.

    A call that reads images counts by their number, any other call by the time that it takes. Visitors and Bodies,
    which limit the body, must come before it.
    """

    def __init__(self, app: ASGIApp, files: FileArguments, limits: RateLimits) -> None:
        self.app = app
        self.files = files
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST" or scope["path"] == UPLOAD or is_slide_upload(scope):
            await self.app(scope, receive, send)
            return
        pieces, more = list[bytes](), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            pieces.append(message.get("body", b""))
            more = message.get("more_body", False)
        body = b"".join(pieces)
        whole: Message | None = {"type": "http.request", "body": body, "more_body": False}

        async def again() -> Message:
            nonlocal whole
            message, whole = whole, None
            return message or await receive()

        began, counted = time.monotonic(), is_repeated(scope) or not is_call(scope)
        try:
            refusal, images = self.check(scope["path"], body)
            if refusal is None and images and not counted:
                refusal = self.limits.images(visitor_of(scope), images)
                counted = refusal is None
            if refusal is None:
                scope["reads_image"] = images > 0
                await self.app(scope, again, send)
        finally:
            if not counted:
                self.limits.charge(visitor_of(scope), time.monotonic() - began)
        if refusal:
            await answer(refusal, scope, receive, send)

    def check(self, path: str, body: bytes) -> tuple[Refusal | None, int]:
        """The refusal of a body, if it is refused, and the number of images that its calls read."""
        if not body:
            return None, 0
        try:
            # Gradio and the MCP server use the same parser, so they find the same values.
            found = json.loads(body)
        except (ValueError, RecursionError):
            return NOT_UNDERSTOOD, 0
        if any(map(names_a_file, self.files.others(path, found))):
            return NO_FILE, 0
        if not self.files.has(path, found) or not _is_text(found):
            return NOT_UNDERSTOOD, 0
        return None, self.files.images(path, found)


def _is_text(value: object) -> bool:
    """Whether every string of a JSON value can be written as UTF-8. Half of a surrogate pair cannot, and an answer that
    repeats it fails."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
