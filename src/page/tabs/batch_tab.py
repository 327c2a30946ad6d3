"""The tab "Many images": several files or zips, read together."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar

import gradio as gr
from gradio.events import Dependency
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder

from src import fair_queue
from src.page.blocks import NOT_UPLOADED, html, refused
from src.page.endpoints import MODEL_EVENT
from src.page.link import Controls
from src.page.number_format import thousands
from src.page.translation import gettext as _
from src.page.translation import marked, ngettext, translated
from src.page.views import batch_table, comparison, result_card, threshold_costs
from src.service import arguments, batch, examples
from src.service.arguments import ArgumentRefused
from src.service.batch import CHUNK_SIZE, BatchRefused, Item, Row
from src.service.worker_pool import Busy, WorkerPool, WorkFailed
from src.tasks import TASKS, Task

R = TypeVar("R")

MAX_BATCHES = 2
"""The batches that one visitor may have running. Each waits for its turn between two chunks (src/fair_queue.py)."""
TRIES: Final = 3
"""How often a chunk asks for its turn. The queue may refuse it while many new visitors arrive."""

WHOLE: Final = -1
"""The number that the page sends in place of a zip's member if the upload itself is the image."""

NO_IMAGES: Final = marked("Choose images or a zip first.")
NO_MODEL: Final = marked("Choose the kind of images.")
TOO_MANY: Final = marked("Two of your batches are already running. Wait until one is done.")
NOT_NOW: Final = marked("The images could not be read just now. Upload them again in a moment.")


class BatchTab(NamedTuple):
    """`controls`: those whose values a link keeps. `image`: the image of the table that a visitor opens.

    `opened`: the event after which `image` has it. `tasks`: the task of each value of `controls.model`.
    """

    controls: Controls
    image: gr.Image
    opened: Dependency
    tasks: dict[str, str]


def batch_tab(pool: WorkerPool) -> BatchTab:
    """Draw the tab inside the current gr.Blocks."""
    checkpoints = pool.info.checkpoints
    names = [name for task in TASKS for name in arguments.models_of(task, checkpoints)]
    defaults = {name: checkpoints[name].config.vigil.default_threshold for name in names}
    first = names[0]
    running_batches = Counter[str]()  # by visitor

    def task_of(name: Any) -> Task:
        if not isinstance(name, str) or name not in checkpoints:
            raise BatchRefused(NO_MODEL)
        return TASKS[checkpoints[name].config.vigil.task]

    def title(name: str) -> str:
        several = len(arguments.models_of(task_of(name).name, checkpoints)) > 1
        return translated(task_of(name).title) + (f", {comparison.title(checkpoints[name])}" if several else "")

    async def call_with_retries(function: Callable[..., R], *arguments: Any) -> R:
        for _try in range(TRIES - 1):
            try:
                return await pool.call(function, *arguments)
            except Busy as busy:
                await asyncio.sleep(busy.after)
        return await pool.call(function, *arguments)

    async def read_chunk(name: str, items: list[Item], threshold: float, mpp: float | None) -> list[Row]:
        try:
            return await call_with_retries(batch.read_items, name, items, threshold, mpp)
        except WorkFailed as failure:
            if len(items) == 1:
                return batch.unread(task_of(name), items, str(failure))
        # Either one image took too long or all of them together did, so each is read alone.
        return [row for item in items for row in await read_chunk(name, [item], threshold, mpp)]

    async def read(
        files: Any,
        name: Any,
        threshold: Any,
        mpp: Any,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        uploads = [(file["path"], file["orig_name"]) for file in files or []]
        if any(Path(path) in examples.images() for path, _ in uploads):
            raise refused(NOT_UPLOADED)
        visitor = fair_queue.visitor.get()
        running_batches[visitor] += 1
        try:
            task, checked_threshold = task_of(name), arguments.threshold_of(threshold)
            # A number that was typed for another kind of image is hidden now and does not count. If none was typed, 0
            # is sent.
            scale = arguments.mpp_of(mpp or None, task) if task.mpp is not None else None
            if not uploads:
                raise BatchRefused(NO_IMAGES)
            if running_batches[visitor] > MAX_BATCHES:
                raise BatchRefused(TOO_MANY)
            items, rows, began = await call_with_retries(batch.items, uploads), list[Row](), monotonic()
            while len(rows) < len(items):
                progress(
                    (len(rows), len(items)),
                    desc=_remaining(len(rows), len(items), monotonic() - began),
                    unit=_("images"),
                )
                rows += await read_chunk(name, items[len(rows) : len(rows) + CHUNK_SIZE], checked_threshold, scale)
        except (BatchRefused, ArgumentRefused, WorkFailed) as refusal:
            return None, None, *no_table(result_card.refusal(str(refusal)))
        finally:
            running_batches[visitor] -= 1
            if not running_batches[visitor]:
                del running_batches[visitor]
        paths = [path for path, _ in uploads]
        sources = [(paths.index(item.path), item.member) for item in items]
        shown = batch_table.table(task, rows, sources, checked_threshold)
        text = ngettext("Save as CSV (%(n)s row)", "Save as CSV (%(n)s rows)", len(rows)) % {"n": thousands(len(rows))}
        save = gr.Button(text, visible=True)
        return None, paths, shown, batch.dump_rows(rows), save

    async def open_image(files: Any, member: Any) -> str:
        if not files or len(files) != 1 or Path(files[0]["path"]) in examples.images():
            raise refused(NOT_UPLOADED)
        path = str(files[0]["path"])
        if member == WHOLE:
            return path
        if not isinstance(member, int) or isinstance(member, bool) or member < 0:
            raise refused(batch.GONE)
        try:
            name, content = await pool.call(batch.member_file, path, member)
        except (BatchRefused, WorkFailed) as refusal:
            raise refused(str(refusal)) from refusal
        # It is saved beside the uploads, so that it is deleted with them.
        return save_bytes_to_cache(content, name, get_upload_folder())

    def make_csv(rows: Any, name: Any, threshold: Any) -> dict[str, str]:
        try:
            text = batch.as_csv(task_of(name), batch.load_rows(rows), arguments.threshold_of(threshold))
        except (BatchRefused, ArgumentRefused) as refusal:
            raise refused(str(refusal)) from refusal
        return {"text": text, "name": f"vigil-{name}-{datetime.now(UTC):%Y-%m-%d}.csv"}

    html(batch_table.intro())
    with gr.Row():
        with gr.Column(scale=5, min_width=300):
            files = gr.File(label=_("Images or zips"), file_count="multiple", height=160)
        with gr.Column(scale=6, min_width=300):
            model = gr.Radio(
                [(title(name), name) for name in names],
                value=first,
                label=_("Kind of images"),
                elem_classes="v-explain",
            )
            threshold = gr.Slider(
                0,
                1,
                value=defaults[first],
                step=threshold_costs.STEP,
                label=_("Threshold"),
                info=_("An image is referred if its p(malignant) reaches this value. The table follows the slider."),
                elem_id="threshold-batch",
                elem_classes="v-threshold",
            )
            mpp = gr.Number(
                None,
                label=_("Micrometres per pixel"),
                info=_(
                    "The scale of all these images. Leave it empty if each file states it or if each image is a tile."
                ),
                visible=task_of(first).mpp is not None,
            )
            read_button = gr.Button(_("Read all"), variant="primary", size="md")
    table = html(batch_table.empty())
    save = gr.Button(_("Save as CSV"), size="sm", visible=False)
    # Only the visitor's browser keeps these.
    rows, csv_file = gr.JSON(visible="hidden"), gr.JSON(visible="hidden")
    # The uploads behind the table. The server deletes them as all uploads; a row of the table names one of them.
    uploads = gr.File(visible="hidden", file_count="multiple")
    member, image = gr.Number(None, visible="hidden"), gr.Image(type="filepath", visible="hidden")
    open_button = gr.Button("", visible="hidden", elem_id="batch-open")

    def no_table(message: str) -> tuple[Any, ...]:
        return message, None, gr.Button(visible=False)

    def choose(name: Any, threshold: Any) -> tuple[Any, ...]:
        known = name if name in defaults else first
        scaled = gr.Number(visible=task_of(known).mpp is not None)
        at = defaults[known] if threshold is None else threshold
        return at, scaled, *no_table(batch_table.empty())

    reading = read_button.click(
        read,
        [files, model, threshold, mpp],
        [files, uploads, table, rows, save],
        api_visibility="private",
        concurrency_id="batch",
        concurrency_limit=None,
        preprocess=False,
        show_progress_on=table,
    )
    reading.failure(
        lambda: no_table(result_card.refusal(NOT_NOW)),
        None,
        [table, rows, save],
        api_visibility="private",
        queue=False,
        show_progress="hidden",
    )
    # Rows and threshold belong to the model, so another model starts afresh.
    model.change(
        choose,
        [model, threshold],
        [threshold, mpp, table, rows, save],
        js="(model) => [model, vigil.takeThreshold('batch')]",
        api_visibility="private",
        queue=False,
        preprocess=False,
        show_progress="hidden",
    )
    threshold.change(None, threshold, js="(threshold) => vigil.decideBatch(threshold)", api_visibility="private")
    save.click(
        make_csv, [rows, model, threshold], csv_file, api_visibility="private", queue=False, preprocess=False
    ).success(None, csv_file, js="(csv) => vigil.saveText(csv.text, csv.name)", api_visibility="private")
    opened = open_button.click(
        open_image,
        [uploads, member],
        image,
        js=f"(uploads) => vigil.chosenUpload(uploads, {WHOLE})",
        api_visibility="private",
        show_progress_on=table,
        **MODEL_EVENT,
    )
    return BatchTab(Controls(threshold, model, names), image, opened, {name: task_of(name).name for name in names})


def _remaining(read: int, of: int, seconds: float) -> str:
    """The time that the remaining images will take if they take as long as the earlier ones."""
    if not read:
        return _("Reading")
    left = round(seconds / read * (of - read))
    return _("About %(n)s s left", n=left) if left < 100 else _("About %(n)s min left", n=round(left / 60))
