"""What every part of the page is made of: our gr.Blocks, our markup, our refusals, and the examples to click on."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import gradio as gr
from gradio.blocks import Block, BlockFunction
from gradio.data_classes import APIInfo
from gradio.route_utils import API_PREFIX
from gradio.state_holder import SessionState
from gradio.utils import get_function_description, get_upload_folder, is_in_or_equal

from src import fair_queue
from src.server.calls import FILES, NO_FILE, names_a_file
from src.server.errors import FAILED, NOT_UNDERSTOOD
from src.server.rate_limit import visitor_of

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES: Final[dict[str, str]] = json.loads((ROOT / "examples" / "examples.json").read_text(encoding="utf-8"))
"""Path below examples/ -> "synthetic: what it shows"."""

NOT_UPLOADED = "The picture must be uploaded, again after an hour; addresses and data: texts are not opened."

LOOK_SECONDS = 0.25
"""How often it is looked whether a visitor still waits."""

FILE = {"meta": {"_type": "gradio.FileData"}}
FILE_ROUTE = f"{API_PREFIX}/file="
"""What comes before an upload's path in its address on this server."""


class Page(gr.Blocks):
    """gr.Blocks that fetches nothing: a picture reaches us as an uploaded file or not at all.

    Gradio would download addresses before any function of ours is called. Its components look at no argument either:
    our events run with preprocess=False, since gr.Image would open the file with all of Pillow's 43 formats first.
    (A subclass of gr.Image would do, but Gradio writes an app.pyi for one, which type checkers then read for app.py.)
    """

    async def preprocess_data(
        self, block_fn: BlockFunction, inputs: list[Any], state: SessionState | None, explicit_call: bool = False
    ) -> list[Any]:
        """As Gradio's, after `inputs` were checked: the files, and that nothing else names one (src/server/calls.py has
        checked that of requests, but not every call is one).

        A caller who knows fewer arguments than there are by now gets the later ones' defaults.
        """
        defaults = [getattr(block, "value", None) for block in block_fn.inputs[len(inputs) :]]
        checked = [
            looked_at(block, value) if isinstance(block, FILES) else no_file(value)
            for block, value in zip(block_fn.inputs, [*inputs, *defaults], strict=False)
        ]
        try:
            return await super().preprocess_data(block_fn, checked, state, explicit_call)
        except (gr.Error, ValueError, TypeError, LookupError, AttributeError) as error:
            # Gradio's own words repeat what was sent, or say nothing.
            raise refused(NOT_UNDERSTOOD.sentence) from error
        finally:
            forget(state, block_fn.inputs)

    async def postprocess_data(self, block_fn: BlockFunction, predictions: Any, state: SessionState | None) -> Any:
        """As Gradio's, and nothing of it is kept."""
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
        """As Gradio's, cancelled once nobody waits for the answer: Gradio would let it run on, and hold its place."""
        if (request := asked_by(requests)) is not None:
            fair_queue.visitor.set(visitor_of(request.scope))
        call = asyncio.ensure_future(
            super().call_function(block_fn, processed_input, iterator, requests, event_id, *further)
        )
        event = self._queue.event_ids_to_events.get(event_id) if event_id else None
        try:
            while (event is None or event.alive) and not call.done():
                await asyncio.wait({call}, timeout=LOOK_SECONDS)
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
        """As Gradio's, with what our functions' docstrings say of each argument and each result.

        A picture's example is a file, and its type a text: Gradio's MCP server would make a file of each `data:` text
        it is given, before we see it; a text it hands on as it is.
        """
        info = super().get_api_info(all_endpoints, page)
        functions = {f"/{function.api_name}": function.fn for function in self.fns.values() if function.fn}
        for name, described in info["named_endpoints"].items():
            _, parameters, returned = get_function_description(functions[name])
            for parameter in described["parameters"]:
                if parameter["component"] == "Image":
                    parameter["example_input"] = {"path": "picture.jpg", "url": "picture.jpg", **FILE}
                    parameter["type"] = {"type": "string"}
                text = parameters.get(parameter["parameter_name"], "")
                parameter["type"] = {**parameter["type"], "description": text}
                parameter["python_type"]["description"] = text
            for one, text in zip(described["returns"], returned, strict=True):
                one["python_type"]["description"] = text.partition(": ")[2]
        return info


def no_file(value: object) -> object:
    """`value`, unless it names a file; then raises gr.Error."""
    if names_a_file(value):
        raise refused(NO_FILE.sentence)
    return value


def asked_by(requests: Any) -> Any:
    """The HTTP request that a function is called for; None where there is none, as in tests of a page alone."""
    one = requests[0] if isinstance(requests, list) else requests
    request = getattr(one, "request", None)
    return request if "visitor" in getattr(request, "scope", ()) else None


def looked_at(block: gr.Image | gr.File, value: object) -> dict[str, Any] | list[dict[str, Any]] | None:
    """`uploaded`, of each where the component takes several."""
    if not isinstance(block, gr.File) or block.file_count == "single":
        return uploaded(value)
    if value is None:
        return None
    if not isinstance(value, list):
        raise refused(NOT_UPLOADED)
    return [file for file in map(uploaded, value) if file is not None]


def uploaded(value: object) -> dict[str, Any] | None:
    """A picture argument as Gradio hands it on, where it names an uploaded file or an example; None where it is none.

    `value` is what Gradio calls FileData or, as over MCP, a text: the upload's path, or its address on this server,
    which is not opened either. Raises gr.Error for anything else.
    """
    if value is None:
        return None
    path: Any = value.get("path") if isinstance(value, Mapping) else value
    if isinstance(path, str) and path.startswith(("http://", "https://")):
        path = unquote(path.partition(FILE_ROUTE)[2])
    try:
        known = isinstance(path, str) and (
            Path(path) in example_files() or (is_in_or_equal(path, get_upload_folder()) and Path(path).is_file())
        )
    except (OSError, ValueError):  # longer than a path can be, or with a NUL in it
        known = False
    if not known:
        raise refused(NOT_UPLOADED)
    name = value.get("orig_name") if isinstance(value, Mapping) else None
    return {"path": path, "orig_name": name if isinstance(name, str) else Path(path).name, **FILE}


def forget(state: SessionState | None, blocks: Iterable[Block]) -> None:
    """Take out of a session what Gradio holds of these blocks' values: answers, and a visitor's token.

    It holds them for deep links (src/server/routes.py offers none), as long as the session lasts and longer.
    """
    for block in blocks:
        held = state.config_values.get(block._id, {}) if state else {}
        if "value" in held.get("props", {}):
            held["props"]["value"] = None


def refused(sentence: str) -> gr.Error:
    """What reaches page and client as one sentence, and the log not at all."""
    return gr.Error(sentence, print_exception=False, title="Not read")


def example_files(task: str = "") -> dict[Path, str]:
    """The pictures to click on, of one task or all, and what each shows."""
    folder = f"{task}/" if task else ""
    return {ROOT / "examples" / name: text for name, text in EXAMPLES.items() if name.startswith(folder)}


def html(markup: str, classes: str = "", elem_id: str | None = None) -> gr.HTML:
    """Our own markup with our own style sheet alone."""
    return gr.HTML(markup, apply_default_css=False, elem_classes=["v-html", classes], elem_id=elem_id)
