"""The tab "Many pictures": several files or zips, read in one go."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import gradio as gr

from src import fair_queue
from src.page.blocks import NOT_UPLOADED, example_files, html, refused
from src.page.link import Controls
from src.page.views import batch_table, comparison, result_card, threshold_costs
from src.service import arguments, batch
from src.service.arguments import ArgumentRefused
from src.service.batch import AT_ONCE, BatchRefused, Item, Row
from src.service.worker_pool import Busy, Work, WorkFailed
from src.tasks import TASKS, Task

R = TypeVar("R")

BATCHES = 2
"""Batches of one visitor under way at once. Each waits for its turn between its pieces (src/fair_queue.py)."""
TRIES: Final = 3
"""How often a piece of a batch asks for its turn: it may be the newcomers' when many come at once."""

NO_PICTURES: Final = "Choose images or a zip first."
NO_MODEL: Final = "Choose the kind of images."
TOO_MANY: Final = f"{BATCHES} of your batches are being read already. Wait until one is done."
NOT_NOW: Final = "The images could not be read just now. Upload them again in a moment."


def batch_tab(work: Work) -> Controls:
    """Draws itself where it is called, within the page's blocks; what of it a link keeps."""
    checkpoints = {name: predictor.checkpoint for name, predictor in work.models.items()}
    names = [name for task in TASKS for name in arguments.models_of(task, checkpoints)]
    defaults = {name: checkpoints[name].config.vigil.default_threshold for name in names}
    first = names[0]
    under_way = Counter[str]()

    def task_of(name: Any) -> Task:
        if not isinstance(name, str) or name not in checkpoints:
            raise BatchRefused(NO_MODEL)
        return TASKS[checkpoints[name].config.vigil.task]

    def title(name: str) -> str:
        several = len(arguments.models_of(task_of(name).name, checkpoints)) > 1
        return task_of(name).title + (f", {comparison.title(checkpoints[name])}" if several else "")

    async def in_turn(function: Callable[..., R], *arguments: Any) -> R:
        for _ in range(TRIES - 1):
            try:
                return await work.call(function, *arguments)
            except Busy as busy:
                await asyncio.sleep(busy.after)
        return await work.call(function, *arguments)

    async def chunk(name: str, items: list[Item], threshold: float, mpp: float | None) -> list[Row]:
        try:
            return await in_turn(batch.read_items, name, items, threshold, mpp)
        except WorkFailed as failure:
            if len(items) == 1:
                return batch.unread(task_of(name), items, str(failure))
        # One of them took too long, or all of them together: each alone then.
        return [row for item in items for row in await chunk(name, [item], threshold, mpp)]

    async def read(files: Any, name: Any, threshold: Any, mpp: Any, progress: Any = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        given = [(file["path"], file["orig_name"]) for file in files or []]
        if any(Path(path) in example_files() for path, _ in given):
            raise refused(NOT_UPLOADED)
        who = fair_queue.visitor.get()
        under_way[who] += 1
        try:
            task, at = task_of(name), arguments.threshold_of(threshold)
            # A number that was typed for another kind of images is out of sight.
            scale = arguments.mpp_of(mpp, task) if task.mpp is not None else None
            if not given:
                raise BatchRefused(NO_PICTURES)
            if under_way[who] > BATCHES:
                raise BatchRefused(TOO_MANY)
            items, rows = await in_turn(batch.items, given), list[Row]()
            while len(rows) < len(items):
                progress((len(rows), len(items)), desc="Read", unit="images")
                rows += await chunk(name, items[len(rows) : len(rows) + AT_ONCE], at, scale)
        except (BatchRefused, ArgumentRefused, WorkFailed) as refusal:
            return None, result_card.refusal(str(refusal)), None, gr.Button(visible=False)
        finally:
            under_way[who] -= 1
            if not under_way[who]:
                del under_way[who]
        return None, batch_table.table(task, rows, at), batch.dump_rows(rows), gr.Button(visible=True)

    def take_away(rows: Any, name: Any, threshold: Any) -> dict[str, str]:
        try:
            text = batch.as_csv(task_of(name), batch.load_rows(rows), arguments.threshold_of(threshold))
        except (BatchRefused, ArgumentRefused) as refusal:
            raise refused(str(refusal)) from refusal
        return {"text": text, "name": f"vigil-{name}-{datetime.now(UTC):%Y-%m-%d}.csv"}

    html(batch_table.intro())
    with gr.Row():
        with gr.Column(scale=5, min_width=300):
            files = gr.File(label="Images or zips", file_count="multiple", height=160)
        with gr.Column(scale=6, min_width=300):
            model = gr.Radio(
                [(title(name), name) for name in names],
                value=first,
                label="Kind of images",
                elem_classes="v-explain",
            )
            threshold = gr.Slider(
                0,
                1,
                value=defaults[first],
                step=threshold_costs.STEP,
                label="Threshold",
                info="An image is referred if its p(malignant) reaches this value. The table follows the slider.",
                elem_id="threshold-batch",
                elem_classes="v-threshold",
            )
            mpp = gr.Number(
                None,
                label="Micrometres per pixel",
                info="Of all these images. Leave it empty if each file says it, or if each image is one tile.",
                visible=task_of(first).mpp is not None,
            )
            go = gr.Button("Read all", variant="primary", size="md")
    shown = html(batch_table.empty())
    save = gr.Button("Save as CSV", size="sm", visible=False)
    # Kept by the visitor's page alone.
    kept, made = gr.JSON(visible="hidden"), gr.JSON(visible="hidden")

    def nothing(answer: str) -> tuple[Any, ...]:
        return answer, None, gr.Button(visible=False)

    def choose(name: Any) -> tuple[Any, ...]:
        known = name if name in defaults else first
        scaled = gr.Number(visible=task_of(known).mpp is not None)
        return defaults[known], scaled, *nothing(batch_table.empty())

    reading = go.click(
        read,
        [files, model, threshold, mpp],
        [files, shown, kept, save],
        api_visibility="private",
        concurrency_id="batch",
        concurrency_limit=None,
        preprocess=False,
        show_progress_on=shown,
    )
    reading.failure(
        lambda: nothing(result_card.refusal(NOT_NOW)),
        None,
        [shown, kept, save],
        api_visibility="private",
        queue=False,
        show_progress="hidden",
    )
    # What another model said is of another kind, and its threshold another model's.
    model.change(
        choose,
        model,
        [threshold, mpp, shown, kept, save],
        api_visibility="private",
        queue=False,
        preprocess=False,
        show_progress="hidden",
    )
    threshold.change(None, threshold, js="(at) => vigil.decide(at)", api_visibility="private")
    save.click(
        take_away, [kept, model, threshold], made, api_visibility="private", queue=False, preprocess=False
    ).success(None, made, js="(csv) => vigil.saveText(csv.text, csv.name)", api_visibility="private")
    return Controls(threshold, model, names)
