"""The tab "Your clinic": a table of a clinic's own scores -> how well the model does in that clinic."""

from pathlib import Path
from typing import Any

import gradio as gr

from src.page.blocks import NOT_UPLOADED, html, refused
from src.page.endpoints import MODEL_EVENT
from src.page.number_format import whole_percent
from src.page.translation import gettext as _
from src.page.translation import translated
from src.page.views import clinic
from src.results.local_validation import TARGETS, TableRefused
from src.service import examples
from src.service.clinic_table import validate_table
from src.service.worker_pool import WorkerPool, WorkFailed
from src.tasks import TASKS


def clinic_tab(pool: WorkerPool) -> None:
    """Draw the tab inside the current gr.Blocks. Only the visitor's browser keeps the report."""
    tasks = [task for task in TASKS if task in pool.info.checkpoints]

    async def read(table: Any, task: Any) -> tuple[dict[str, str], None]:
        if not table or Path(table["path"]) in examples.images() or task not in tasks:
            raise refused(NOT_UPLOADED)
        try:
            report = await pool.call(validate_table, task, table["path"])
        except (TableRefused, WorkFailed) as refusal:
            return dict.fromkeys(map(str, TARGETS), clinic.refusal(str(refusal))), None
        return {str(target): clinic.report(report, target) for target in TARGETS}, None

    html(clinic.intro())
    with gr.Row():
        task = gr.Radio(
            [(translated(TASKS[name].title), name) for name in tasks],
            value=tasks[0],
            label=_("Kind of images"),
            elem_classes="v-explain",
        )
        target = gr.Radio(
            [(whole_percent(target), str(target)) for target in TARGETS],
            value="0.95",
            label=_("Sensitivity that you need"),
            elem_classes="v-explain",
        )
    table = gr.File(label=_("Table of scores and outcomes (CSV)"), file_types=[".csv"], height=150)
    reports_by_target = gr.JSON(visible="hidden")
    shown = html("")
    reading = table.upload(
        read,
        [table, task],
        [reports_by_target, table],
        api_visibility="private",
        show_progress_on=shown,
        **MODEL_EVENT,
    )
    show = "(reports, target) => reports ? reports[target] : ''"
    for event in (reading.then, target.input):
        event(None, [reports_by_target, target], shown, js=show, api_visibility="private")
    task.input(None, None, [reports_by_target, shown], js="() => [null, '']", api_visibility="private")
