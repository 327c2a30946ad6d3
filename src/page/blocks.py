"""The parts that all tabs share: our gr.Blocks, HTML components and refusals."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import gradio as gr
from gradio.blocks import Block, BlockFunction
from gradio.data_classes import APIInfo, BlocksConfigDict
from gradio.route_utils import API_PREFIX
from gradio.state_holder import SessionState
from gradio.utils import get_function_description, get_upload_folder, is_in_or_equal

from src import fair_queue
from src.page.translation import gettext as _
from src.page.translation import marked, translated
from src.server.calls import FILES, NO_FILE, names_a_file
from src.server.errors import FAILED, NOT_UNDERSTOOD
from src.server.languages import ENGLISH, language, language_of, speaking
from src.server.rate_limit import visitor_of
from src.service import examples

log = logging.getLogger(__name__)

NOT_UPLOADED = marked(
    "Upload the file first, and again after an hour, when uploads are deleted. Addresses and data: URLs are not opened."
)

POLL_SECONDS = 0.25
"""The time between two checks whether the visitor still waits."""

FILE_DATA = {"meta": {"_type": "gradio.FileData"}}
FILE_ROUTE = f"{API_PREFIX}/file="
"""The start of an upload's address on this server; the path of the upload follows it."""


class Page(gr.Blocks):
    """gr.Blocks that fetches nothing: an image arrives as an uploaded file or is refused.

    Gradio would download an address before it calls our functions. Our events run with preprocess=False, because
    gr.Image would open the file first, with all of Pillow's 43 formats. A subclass of gr.Image could prevent this too,
    but Gradio writes an app.pyi for a subclass, and type checkers would read that file in place of app.py.

    `draw_in` draws the same page in the language with a code. `early` returns HTML, in the present language, that
    stands there until Gradio has drawn the page. `translated` has the components and the events of the pages in other
    languages, by the language's code.
    """

    draw_in: Callable[[str], gr.Blocks] | None = None
    early: Callable[[], str] = str

    def __init__(self, *arguments: Any, **further: Any) -> None:
        self.translated: dict[str, dict[str, Any]] = {}
        super().__init__(*arguments, **further)

    @property
    def config(self) -> BlocksConfigDict:
        """The configuration of the page in the language of the present request."""
        return cast(BlocksConfigDict, {**self._config, **self.translated.get(language.get(), {})})

    @config.setter
    def config(self, config: BlocksConfigDict) -> None:
        self._config = config

    def begin(self, code: str) -> str:
        """Draw the page in the language `code`, and return the HTML that stands there before Gradio's: `early`."""
        self.translate(code)
        with speaking(code):
            return self.early()

    def translate(self, code: str) -> None:
        """Draw the page in the language `code`, unless it is drawn. Takes about a second.

        Only the event loop's thread may call it, because Gradio numbers the parts of all pages with one counter.
        Functions and parts are found by their numbers, which are the same on both pages. Raises ValueError if not.
        """
        if code == ENGLISH or code in self.translated or self.draw_in is None:
            return
        config = self.draw_in(code).get_config_file()
        if [block["id"] for block in config["components"]] != [block["id"] for block in self.config["components"]]:
            raise ValueError(f"The page in {code} has other parts.")
        self.translated[code] = {"components": config["components"], "dependencies": config["dependencies"]}

    async def process_api(
        self,
        block_fn: BlockFunction | int,
        inputs: list[Any],
        state: SessionState | None = None,
        request: Any = None,
        *further: Any,
        **named: Any,
    ) -> dict[str, Any]:
        """As Gradio's, in the visitor's language. The functions of the API answer in English."""
        function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        if function.api_visibility == "private" and (asked := http_request(request)) is not None:
            language.set(language_of(asked.scope))
        else:
            language.set(ENGLISH)
        return await super().process_api(block_fn, inputs, state, request, *further, **named)

    async def preprocess_data(
        self, block_fn: BlockFunction, inputs: list[Any], state: SessionState | None, explicit_call: bool = False
    ) -> list[Any]:
        """As Gradio's, but checks `inputs` first: files must be uploads, and no other argument may name a file.

        src/server/calls.py checks HTTP requests in the same way, but not every call is an HTTP request. Arguments that
        the caller leaves out at the end get their default values. Raises gr.Error.
        """
        defaults = [getattr(block, "value", None) for block in block_fn.inputs[len(inputs) :]]
        checked = [
            checked_files(block, value) if isinstance(block, FILES) else no_file(value)
            for block, value in zip(block_fn.inputs, [*inputs, *defaults], strict=False)
        ]
        try:
            return await super().preprocess_data(block_fn, checked, state, explicit_call)
        except (gr.Error, ValueError, TypeError, LookupError, AttributeError) as error:
            # Gradio's own message repeats the arguments or says nothing useful.
            raise refused(NOT_UNDERSTOOD.sentence) from error
        finally:
            forget(state, block_fn.inputs)

    async def postprocess_data(self, block_fn: BlockFunction, predictions: Any, state: SessionState | None) -> Any:
        """As Gradio's, but the session keeps no value of the answer."""
        try:
            return await super().postprocess_data(block_fn, predictions, state)
        finally:
            forget(state, block_fn.outputs)

    async def call_function(
        self,
        block_fn: BlockFunction | int,
        processed_input: list[Any],
        iterator: AsyncIterator[Any] | None = None,
        requests: Any = None,
        event_id: str | None = None,
        *further: Any,
    ) -> dict[str, Any]:
        """As Gradio's, but a call is cancelled when its visitor leaves. Gradio would let it run and block the queue."""
        if (request := http_request(requests)) is not None:
            fair_queue.visitor.set(visitor_of(request.scope))
        call = asyncio.ensure_future(
            super().call_function(block_fn, processed_input, iterator, requests, event_id, *further)
        )
        event = self._queue.event_ids_to_events.get(event_id) if event_id else None
        try:
            while (event is None or event.alive) and not call.done():
                await asyncio.wait({call}, timeout=POLL_SECONDS)
        finally:
            call.cancel()
        try:
            return await call
        except gr.Error:
            raise
        except Exception:
            log.exception("A function of the page failed")
            raise refused(FAILED.sentence) from None

    def get_api_info(self, all_endpoints: bool = False, page: str | None = None) -> APIInfo:
        """As Gradio's, with the descriptions of arguments and results from our functions' docstrings.

        The example of an image argument is a file, and its type is string. With Gradio's own type, its MCP server would
        write every `data:` URL into a file before our check; a string passes through unchanged.
        """
        language.set(ENGLISH)  # of this thread's call alone
        info = super().get_api_info(all_endpoints, page)
        functions = {f"/{function.api_name}": function.fn for function in self.fns.values() if function.fn}
        for name, described in info["named_endpoints"].items():
            _, parameters, returned = get_function_description(functions[name])
            for parameter in described["parameters"]:
                if parameter["component"] == "Image":
                    parameter["example_input"] = {"path": "image.jpg", "url": "image.jpg", **FILE_DATA}
                    parameter["type"] = {"type": "string"}
                description = parameters.get(parameter["parameter_name"], "")
                parameter["type"] = {**parameter["type"], "description": description}
                parameter["python_type"]["description"] = description
            for output, description in zip(described["returns"], returned, strict=True):
                output["python_type"]["description"] = description.partition(": ")[2]
        return info


def no_file(value: object) -> object:
    """Return `value` unchanged. Raises gr.Error if it names a file."""
    if names_a_file(value):
        raise refused(NO_FILE.sentence)
    return value


def http_request(requests: Any) -> Any:
    """The HTTP request that caused a call; None if there is none, as in tests without a server."""
    first = requests[0] if isinstance(requests, list) else requests
    request = getattr(first, "request", None)
    return request if "visitor" in getattr(request, "scope", ()) else None


def checked_files(block: gr.Image | gr.File, value: object) -> dict[str, Any] | list[dict[str, Any]] | None:
    """The argument of a file component: one `uploaded_file`, or a list of them if the component takes several files."""
    if not isinstance(block, gr.File) or block.file_count == "single":
        return uploaded_file(value)
    if value is None:
        return None
    if not isinstance(value, list):
        raise refused(NOT_UPLOADED)
    return [file for file in map(uploaded_file, value) if file is not None]


def uploaded_file(value: object) -> dict[str, Any] | None:
    """The argument as Gradio's FileData if it names an upload or an example image; None if `value` is None.

    `value` is a FileData or, over MCP, a string: the upload's path or its address on this server. The address is only
    parsed and never opened. Raises gr.Error for anything else.
    """
    if value is None:
        return None
    path: Any = value.get("path") if isinstance(value, Mapping) else value
    if isinstance(path, str) and path.startswith(("http://", "https://")):
        path = unquote(path.partition(FILE_ROUTE)[2])
    try:
        known = isinstance(path, str) and (
            Path(path) in examples.images() or (is_in_or_equal(path, get_upload_folder()) and Path(path).is_file())
        )
    except (OSError, ValueError):  # longer than a path can be, or with a NUL in it
        known = False
    if not known:
        raise refused(NOT_UPLOADED)
    name = value.get("orig_name") if isinstance(value, Mapping) else None
    return {"path": path, "orig_name": name if isinstance(name, str) else Path(path).name, **FILE_DATA}


def forget(state: SessionState | None, blocks: Iterable[Block]) -> None:
    """Delete the values of these blocks from the session, such as answers and a visitor's token.

    Gradio stores them for its deep links, for as long as the session lasts or longer. Vigil has no deep links.
    """
    for block in blocks:
        stored = state.config_values.get(block._id, {}) if state else {}
        if "value" in stored.get("props", {}):
            stored["props"]["value"] = None


def refused(sentence: str) -> gr.Error:
    """The error that shows `sentence` on the page, in the visitor's language, and to API clients. It is not logged."""
    return gr.Error(translated(sentence), print_exception=False, title=_("Not read"))


def html(markup: str, classes: str = "", elem_id: str | None = None) -> gr.HTML:
    """An HTML component that only our own style sheets apply to."""
    return gr.HTML(markup, apply_default_css=False, elem_classes=["v-html", classes], elem_id=elem_id)
