"""The whole page: the header, a tab per task, and the tabs for many images, slides, evidence and a clinic's table."""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import gradio as gr
from gradio.context import Context

from src.models.checkpoint_info import CheckpointInfo
from src.page import link
from src.page.blocks import Page, html
from src.page.endpoints import robustness_endpoint
from src.page.tabs.batch_tab import BatchTab, batch_tab
from src.page.tabs.clinic_tab import clinic_tab
from src.page.tabs.slide_tab import slide_tab
from src.page.tabs.task_tab import TaskTab
from src.page.translation import gettext as _
from src.page.translation import translated
from src.page.views import evidence, page_frame
from src.server.languages import ENGLISH, speaking
from src.service import arguments, examples, read_slide
from src.service.worker_pool import WorkerPool
from src.slides.library import Offered
from src.tasks import TASKS

MAX_EVENTS = 500
"""Events at a time. They wait for their turn in src/fair_queue.py, which refuses events long before this number."""
CONCURRENT_CALLS = 4
"""Calls at a time of each function that runs no model."""
SWEEP_SECONDS, KEPT_SECONDS = 300, 2700
"""Gradio deletes its files before src/server/disk.py does, because it only forgets a file that it deletes itself."""


def build(pool: WorkerPool, slides: Mapping[str, Offered] = MappingProxyType({}), slide_limit: int = 0) -> Page:
    """The page for the models of `pool` and the offered slides. `slide_limit`: bytes of a slide that may be uploaded.

    It is drawn in English now, and in another language when its first visitor comes. Visitors of all languages call the
    functions of the English page, which find their components by number.
    """
    # The folders and not the files, because Gradio compares each path here with each file that comes or goes.
    gr.set_static_paths(sorted({str(path.parent) for path in examples.images()}))
    first = Context.id

    def draw_in(code: str) -> Page:
        """The page in the language `code`, with the numbers of the English page's parts."""
        following, Context.id = Context.id, first
        try:
            with speaking(code):
                return draw(pool, slides, slide_limit)
        finally:
            Context.id = max(following, Context.id)

    page = draw_in(ENGLISH)
    page.draw_in = draw_in
    page.early = lambda: page_frame.early(task for name, task in TASKS.items() if name in pool.info.checkpoints)
    page.queue(default_concurrency_limit=CONCURRENT_CALLS, max_size=MAX_EVENTS, api_open=False)
    return page


def draw(pool: WorkerPool, slides: Mapping[str, Offered], slide_limit: int = 0) -> Page:
    """The page in the present language, with the tabs in the order of src/tasks.py. `slide_limit`: as for `build`."""
    checkpoints = pool.info.checkpoints
    defaults = {name: checkpoint for name, checkpoint in checkpoints.items() if name in TASKS}
    with Page(title="Vigil", analytics_enabled=False, delete_cache=(SWEEP_SECONDS, KEPT_SECONDS)) as page:
        with gr.Row(elem_classes="v-top"):
            html(page_frame.header())
            link.copy_button()
        html(page_frame.notice())
        task_tabs: dict[str, TaskTab] = {}
        tab_by_id: dict[str, gr.Tab] = {}
        with gr.Tabs(overflow_behavior="wrap") as tabs:
            for name, task in TASKS.items():
                if name in defaults:
                    with gr.Tab(translated(task.title), id=name) as tab_by_id[name]:
                        served = {model: checkpoints[model] for model in arguments.models_of(name, checkpoints)}
                        task_tabs[name] = TaskTab(served, pool.info.milliseconds, pool)
            with gr.Tab(_("Many images"), id="batch") as tab_by_id["batch"]:
                batch = batch_tab(pool)
            if slides and read_slide.TASK.name in defaults:
                with gr.Tab(_("Whole slide"), id="slide") as tab_by_id["slide"]:
                    slide_tab(pool, slides, tab_by_id["slide"], slide_limit)
            with gr.Tab(_("Evidence"), id="evidence") as tab_by_id["evidence"]:
                evidence_tab(list(defaults.values()))
            with gr.Tab(_("Your clinic"), id="clinic") as tab_by_id["clinic"]:
                clinic_tab(pool)
        hand_over(tabs, task_tabs, batch)
        controls = {
            name: link.Controls(
                one.controls.threshold,
                one.controls.model,
                list(one.models.checkpoints),
                one.controls.sections.by_name,
            )
            for name, one in task_tabs.items()
        }
        link.keep(page, tabs, tab_by_id, {**controls, "batch": batch.controls})
        robustness_endpoint(pool)
    return page


def hand_over(tabs: gr.Tabs, task_tabs: Mapping[str, TaskTab], batch: BatchTab) -> None:
    """Let a button move an image to the tab of the task that it looks like, and the table of many images to its tab."""
    names = json.dumps(list(task_tabs))
    images = [one.controls.image for one in task_tabs.values()]
    thresholds = [one.controls.threshold for one in task_tabs.values()]
    models = [one.controls.model for one in task_tabs.values()]
    # In the tab of a task, "" stands for the default model.
    choices = {
        name: (task, "" if task_tabs[task].models.default_name == name else name) for name, task in batch.tasks.items()
    }
    batch.opened.success(
        None,
        [batch.image, batch.controls.model, batch.controls.threshold, *models],
        [tabs, *images, *thresholds, *models],
        js=f"(image, model, threshold, ...models) => "
        f"vigil.handOverDecided({names}, image, ...({json.dumps(choices)})[model], threshold, ...models)",
        api_visibility="private",
    )
    for one in task_tabs.values():
        one.controls.open_other_tab.click(
            None,
            [one.controls.image, one.controls.other_task],
            [tabs, *images],
            js=f"(image, other) => vigil.handOver({names}, other, image)",
            api_visibility="private",
        )


def evidence_tab(checkpoints: Sequence[CheckpointInfo]) -> None:
    """The tab "Evidence": an overview of all models, and the details of the chosen one."""
    models = evidence.models(checkpoints)

    def page(number: Any) -> str | None:
        """The details of a model in the visitor's language."""
        known = isinstance(number, int) and 0 <= number < len(models)
        return evidence.page(models[number]) if known else None

    html(evidence.overview(models))
    choices = [(model.title, number) for number, model in enumerate(models)]
    chosen = gr.Radio(choices, value=0, label=_("Details of"), elem_classes="v-explain")
    shown = html(evidence.page(models[0]))
    chosen.input(page, chosen, shown, api_visibility="private", queue=False, show_progress="hidden")
