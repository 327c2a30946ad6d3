"""The whole page: header, a tab for each task, what is known of each model, and a clinic's own table."""

import json
from collections.abc import Mapping, Sequence

import gradio as gr

from src.models.checkpoints import Checkpoint
from src.page import link
from src.page.blocks import Page, example_files, html
from src.page.endpoints import robustness_endpoint
from src.page.tabs.batch_tab import batch_tab
from src.page.tabs.clinic_tab import clinic_tab
from src.page.tabs.task_tab import TaskTab
from src.page.views import evidence, page_frame
from src.service import arguments, read_picture
from src.service.worker_pool import Models, Work
from src.tasks import TASKS

UNDER_WAY = 500  # questions; they wait for their turn in src/fair_queue.py, which refuses some long before
OTHERS = 4  # calls at once of a function that asks no model
SWEEP, KEPT = 300, 2700  # seconds: before src/server/disk.py, since Gradio forgets a file only if it deletes it itself


def build(work: Work) -> gr.Blocks:
    """The page for the models of `work`, in the order of src/tasks.py."""
    checkpoints = {name: predictor.checkpoint for name, predictor in work.models.items()}
    defaults = {name: checkpoint for name, checkpoint in checkpoints.items() if name in TASKS}
    gr.set_static_paths([str(path) for path in example_files()])
    with Page(title="Vigil", analytics_enabled=False, delete_cache=(SWEEP, KEPT)) as page:
        with gr.Row(elem_classes="v-top"):
            html(page_frame.header())
            link.copy_button()
        html(page_frame.notice())
        task_tabs: dict[str, TaskTab] = {}
        each: dict[str, gr.Tab] = {}
        with gr.Tabs(overflow_behavior="wrap") as tabs:
            for name, task in TASKS.items():
                if name in defaults:
                    with gr.Tab(task.title, id=name) as each[name]:
                        served = {model: checkpoints[model] for model in arguments.models_of(name, checkpoints)}
                        task_tabs[name] = TaskTab(served, speeds(work.models, list(served)), work)
            with gr.Tab("Many images", id="batch") as each["batch"]:
                many = batch_tab(work)
            with gr.Tab("Evidence", id="evidence") as each["evidence"]:
                evidence_tab(list(defaults.values()))
            with gr.Tab("Your clinic", id="clinic") as each["clinic"]:
                clinic_tab(work)
        hand_over(tabs, task_tabs)
        controls = {
            name: link.Controls(one.controls.threshold, one.controls.model, list(one.models.checkpoints))
            for name, one in task_tabs.items()
        }
        link.keep(page, tabs, each, {**controls, "batch": many})
        robustness_endpoint(work)
    page.queue(default_concurrency_limit=OTHERS, max_size=UNDER_WAY, api_open=False)
    return page


def speeds(models: Models, names: Sequence[str]) -> dict[str, float]:
    """Milliseconds a picture takes with each of `names` on this server; none where there is nothing to choose, or on a
    GPU, which may be lent for a visitor's call alone."""
    if len(names) < 2 or any(models[name].device.type != "cpu" for name in names):
        return {}
    picture = str(next(iter(example_files(names[0]))))
    return {name: read_picture.milliseconds(models, name, picture) for name in names}


def hand_over(tabs: gr.Tabs, task_tabs: Mapping[str, TaskTab]) -> None:
    """From the tab that a picture was dropped on, take it along to the tab that it looks like."""
    images = [one.controls.image for one in task_tabs.values()]
    for one in task_tabs.values():
        one.controls.open_other_tab.click(
            None,
            [one.controls.image, one.controls.other_task],
            [tabs, *images],
            js=f"(image, other) => vigil.handOver({json.dumps(list(task_tabs))}, image, other)",
            api_visibility="private",
        )


def evidence_tab(checkpoints: Sequence[Checkpoint]) -> None:
    """What is known of each model, one chosen at a time."""
    models = evidence.models(checkpoints)
    pages = {model.title: evidence.page(model) for model in models}
    html(evidence.overview(models))
    chosen = gr.Radio(list(pages), value=models[0].title, label="Details of", elem_classes="v-explain")
    shown = html(pages[models[0].title])
    chosen.input(pages.get, chosen, shown, api_visibility="private", queue=False, show_progress="hidden")
