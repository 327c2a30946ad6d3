"""What a call of a function may hold: no file but an uploaded picture or table, where one is asked for.

Gradio downloads every address, and copies every file, that an argument names in the form of its FileData, whatever the
argument is for and however deep it lies. So such a body is refused before Gradio sees it. The pictures and tables
themselves are checked in src/page/blocks.py, which knows what was uploaded.
"""

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Final, Self

import gradio as gr
from gradio.utils import get_function_params
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.server.errors import NOT_UNDERSTOOD
from src.server.refusal import UPLOAD, Refusal, answer
from src.server.routes import CALLED, is_mcp

FILES: Final = (gr.Image, gr.File)
"""The components that take a file."""

NO_FILE: Final = Refusal(400, "Only a picture or a table may be a file; nothing else that names one is opened.")


def names_a_file(value: object) -> bool:
    """Whether JSON holds anything, however deep, that Gradio takes, or took in earlier versions, for a file."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Mapping):
            meta = each.get("meta")
            if "path" in each or "url" in each or (isinstance(meta, Mapping) and "_type" in meta):
                return True
            waiting += each.values()
        elif isinstance(each, list | tuple):
            waiting += each
    return False


@dataclass(frozen=True)
class FileArguments:
    """Which arguments of a page's functions are files: of each by its number, and of each endpoint by its name, there
    by their positions and by their names."""

    functions: Mapping[int, Set[int | str]]
    endpoints: Mapping[str, Set[int | str]]

    @classmethod
    def of(cls, page: gr.Blocks) -> Self:
        """As the page has them."""
        functions: dict[int, Set[int | str]] = {}
        endpoints: dict[str, Set[int | str]] = {}
        for number, function in page.fns.items():
            places: set[int | str] = {place for place, block in enumerate(function.inputs) if isinstance(block, FILES)}
            names = [name for name, *_ in get_function_params(function.fn)] if function.fn else []
            functions[number] = places
            endpoints[str(function.api_name)] = places | {name for place, name in enumerate(names) if place in places}
        return cls(functions, endpoints)

    def others(self, path: str, body: object) -> Iterator[object]:
        """All that a request holds but those arguments. Over MCP they are texts, so that there all is checked."""
        if is_mcp(path):
            for each in body if isinstance(body, list) else [body]:
                parameters = each.get("params") if isinstance(each, Mapping) else None
                # What else an MCP client says is no argument, and may well have a `url`.
                yield parameters.get("arguments") if isinstance(parameters, Mapping) else None
            return
        if not isinstance(body, Mapping):
            yield body
            return
        files: Set[int | str] = set()
        if called := CALLED.match(path):
            files = self.endpoints.get(called["endpoint"], files)
        elif isinstance(number := body.get("fn_index"), int):
            files = self.functions.get(number, files)
        by_name = called is not None and called["by_name"]
        for name, value in body.items():
            if name == "data" and isinstance(value, list) and not by_name:
                yield [each for place, each in enumerate(value) if place not in files]
            elif not by_name or name not in files:
                yield value


class Calls:
    """ASGI middleware that refuses a call which names a file elsewhere. Expects Bodies in front, which bounds it."""

    def __init__(self, app: ASGIApp, files: FileArguments) -> None:
        self.app = app
        self.files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST" or scope["path"] == UPLOAD:
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
        if body and (refusal := self.refused(scope["path"], body)):
            await answer(refusal, scope, receive, send)
            return
        whole: Message | None = {"type": "http.request", "body": body, "more_body": False}

        async def again() -> Message:
            nonlocal whole
            message, whole = whole, None
            return message or await receive()

        await self.app(scope, again, send)

    def refused(self, path: str, body: bytes) -> Refusal | None:
        """What a body is refused with, if it is."""
        try:
            # By the parser that Gradio and the MCP server use, so that both find the same in it.
            found = json.loads(body)
        except (ValueError, RecursionError):
            return NOT_UNDERSTOOD
        return NO_FILE if any(map(names_a_file, self.files.others(path, found))) else None
