"""The whole page: header, a tab for each task, what is known of each model, and a clinic's own table."""

from collections.abc import Sequence

import gradio as gr

from src.page import evidence, panel
from src.page.blocks import Page, example_files, html
from src.page.clinic_tab import clinic_tab
from src.page.task_tab import CONCURRENCY, task_tab
from src.tasks import TASKS
from src.weights import Checkpoint
from src.work import Work

WAITING = 40  # more than these are told to come back later
SWEEP, KEPT = 300, 3300  # seconds: every file is swept away within an hour


def build(work: Work) -> gr.Blocks:
    """The page for the models of `work`, in the order of src/tasks.py."""
    checkpoints = {name: predictor.checkpoint for name, predictor in work.models.items()}
    gr.set_static_paths([str(path) for path in example_files()])
    with Page(title="Vigil", analytics_enabled=False, delete_cache=(SWEEP, KEPT)) as page:
        html(panel.header() + panel.notice())
        with gr.Tabs():
            for name, task in TASKS.items():
                if name in checkpoints:
                    with gr.Tab(task.title, id=name):
                        task_tab(checkpoints[name], work)
            with gr.Tab("Evidence", id="evidence"):
                evidence_tab(list(checkpoints.values()))
            with gr.Tab("Your clinic", id="clinic"):
                clinic_tab(checkpoints)
    page.queue(default_concurrency_limit=CONCURRENCY, max_size=WAITING, api_open=False)
    return page


def evidence_tab(checkpoints: Sequence[Checkpoint]) -> None:
    """What is known of each model, one chosen at a time."""
    models = evidence.models(checkpoints)
    pages = {model.title: evidence.page(model) for model in models}
    html(evidence.overview(models))
    chosen = gr.Radio(list(pages), value=models[0].title, label="In full", elem_classes="v-explain")
    shown = html(pages[models[0].title])
    chosen.input(pages.get, chosen, shown, api_visibility="private", queue=False, show_progress="hidden")
