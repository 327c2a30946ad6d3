"""One task's tab: its controls, its answer, its events, and its endpoint of the API."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache
from gradio.route_utils import API_PREFIX
from gradio.utils import get_upload_folder

from src import answers, meaning
from src.answers import REPORTS, Answer, ArgumentRefused
from src.images import MAX_BYTES, ImageRefused
from src.page import costs, curves, panel
from src.page.blocks import example_files, html, refused
from src.predictor import EXPLANATIONS
from src.tasks import TASKS, Task
from src.weights import Checkpoint
from src.work import Work

CONCURRENCY = 2  # pictures in work at once, on all tabs together: one is decoded while another is in the network

NOT_NOW = "The picture could not be read just now; press Read again in a moment."
NO_PICTURE = "Choose a picture first."


def endpoint(task: Task, work: Work) -> Callable[[Any, Any, Any], Answer]:
    """The function of one task's endpoint and MCP tool, named and described for both."""

    def read(image: Any, threshold: Any, explain: Any) -> Answer:
        if image is None:
            raise refused(NO_PICTURE)
        try:
            return work.call(answers.answer, task.name, image["path"], threshold, explain)
        except (ArgumentRefused, ImageRefused) as refusal:
            raise refused(str(refusal)) from refusal

    read.__name__, read.__doc__ = task.name, describe(task)
    return read


def describe(task: Task) -> str:
    """The endpoint's docstring, of which the API page and MCP show every line."""
    return f"""Reads {task.modality}. Research and education only, not a diagnosis.

    Args:
        image: A picture file (JPEG, PNG, WebP, TIFF or BMP, at most {MAX_BYTES // 10**6} MB), uploaded by the client; \
over MCP the path or address of a file uploaded before (POST to {API_PREFIX}/upload, as `gradio upload-mcp` does).
        threshold: 0 to 1; the decision is `refer` where p_malignant reaches it, else `no referral`. Default: the \
model's own.
        explain: What is drawn over the picture: {", ".join(EXPLANATIONS)}.
    Returns:
        result: task, model, revision, p_malignant, threshold, decision, classes, quality, operating_point with 95% \
intervals on the test split or null, disclaimer, explanation, explained_class, heatmap_empty, size, region, \
region_kind, screening (this threshold's costs at home and away, and the thresholds that promise a sensitivity), \
confidence in the most probable class (high, medium or low), and the meaning of every class.
        heatmap: The heat map over the picture; null for none.
    """


def task_tab(checkpoint: Checkpoint, work: Work) -> None:
    """One task's controls, answer and events, in the current layout."""
    task, measured = TASKS[checkpoint.config.vigil.task], checkpoint.measured
    default = checkpoint.config.vigil.default_threshold
    thresholds, slider = costs.grid(measured, default), f"threshold-{task.name}"
    read = endpoint(task, work)

    def draw_costs(threshold: Any, prevalence: Any) -> str:
        try:
            asked = answers.threshold_of(threshold), answers.prevalence_of(prevalence)
        except ArgumentRefused as refusal:
            raise refused(str(refusal)) from refusal
        return costs.panel(task, measured, *asked, thresholds)

    def draw_curves(threshold: Any, result: Any = None) -> str:
        return curves.figures(measured, answers.threshold_of(threshold), thresholds, result and result["p_malignant"])

    html(panel.intro(task, checkpoint))
    with gr.Row(elem_classes="v-columns"):
        with gr.Column(scale=4, min_width=300):
            image = gr.Image(
                type="filepath",
                image_mode=None,
                sources=["upload", "clipboard", "webcam"] if task.name == "skin" else ["upload", "clipboard"],
                label="Picture",
                height=300,
                buttons=["fullscreen"],
                placeholder="# Drop a picture here\nor click to choose one",
                alt_text="The picture to read. Some formats, such as TIFF, have no preview here but are read.",
                elem_classes="v-picture",
            )
            again = gr.Button("Read again", size="md")
            html(panel.examples_heading())
            with gr.Row(elem_classes="v-strip"):
                examples = {
                    path: gr.Button(text.removeprefix("synthetic: ").capitalize(), icon=path, elem_classes="v-example")
                    for path, text in example_files(task.name).items()
                }
        with gr.Column(scale=7, min_width=320):
            decision = html(panel.empty())
            with gr.Row():
                threshold = gr.Slider(
                    0,
                    1,
                    value=default,
                    step=costs.STEP,
                    label="Threshold",
                    info="Refer from this p(malignant) on. Lower finds more cancers and raises more false alarms.",
                    buttons=["reset"],
                    scale=3,
                    min_width=280,
                    elem_id=slider,
                    elem_classes="v-threshold",
                )
                prevalence = gr.Slider(
                    1,
                    costs.PEOPLE // 2,
                    value=costs.PREVALENCE,
                    step=1,
                    label=f"Of {costs.PEOPLE:,} {task.counted}, how many have {task.disease}?",
                    info=costs.prevalence_hint(measured),
                    buttons=["reset"],
                    scale=2,
                    min_width=220,
                )
            with gr.Row(elem_classes="v-marks"):
                marks = {
                    gr.Button(
                        f"{mark.name} {'–' if mark.threshold is None else f'{mark.threshold:g}'}",
                        size="sm",
                        interactive=mark.threshold is not None,
                    ): mark.threshold
                    for mark in costs.marks(measured, default)
                }
            html(costs.promises(task, measured) + costs.ticks(measured, default, slider))
            shown_costs = html(draw_costs(default, costs.PREVALENCE), elem_id=f"costs-{task.name}")
            details = html("", "v-details")
            with gr.Row():
                reports = {
                    kind: (gr.Button(f"Report ({kind.upper()})", size="sm"), gr.DownloadButton(visible="hidden"))
                    for kind in REPORTS
                }
            with gr.Accordion("As JSON, what the API returns", open=False):
                result = gr.JSON(label="result", show_label=False)
        with gr.Column(scale=4, min_width=300):
            explain = gr.Radio(
                [("None" if name == "none" else name, name) for name in EXPLANATIONS],
                value="Grad-CAM",
                label="Where did it look?",
                elem_classes="v-explain",
            )
            heatmap = gr.Image(
                format="png",
                label="Heatmap",
                interactive=False,
                buttons=["download", "fullscreen"],
                elem_classes="v-heatmap",
                alt_text="The picture with the heat map over it; the caption below says for which class",
            )
            caption = html("")

    shown_curves = html(draw_curves(default), elem_id=f"curves-{task.name}")
    shown = [result, heatmap, decision, details, caption, shown_curves]

    def show(image: Any, threshold: Any, explain: Any) -> tuple[Any, ...]:
        if image is None:
            return None, None, panel.empty(), "", "", draw_curves(threshold)
        try:
            answer, drawn = read(image, threshold, explain)
        except gr.Error as error:
            # In the answer's place, so that no earlier answer stands beside a picture that could not be read.
            return None, None, panel.refusal(error.message), "", "", draw_curves(threshold)
        return (
            answer,
            drawn,
            panel.decision(answer),
            panel.details(answer) + meaning.meaning(answer),
            panel.caption(answer),
            draw_curves(threshold, answer),
        )

    def take_away(kind: str) -> Callable[[Any, Any, Any], str]:
        def make(image: Any, threshold: Any, explain: Any) -> str:
            if image is None:
                raise refused(NO_PICTURE)
            date = datetime.now(UTC)
            try:
                data = work.call(answers.taken_away, task.name, image["path"], threshold, explain, kind, date)
            except (ArgumentRefused, ImageRefused) as refusal:
                raise refused(str(refusal)) from refusal
            # Among the uploads, to be swept away with them.
            return save_bytes_to_cache(data, f"vigil-{task.name}-{date:%Y-%m-%d}.{kind}", get_upload_folder())

        return make

    def decide_again(last: Any, threshold: Any, prevalence: Any) -> tuple[Any, ...]:
        try:
            answer = last and answers.decided_again(checkpoint, last, threshold)
            at = answers.threshold_of(threshold)
        except ArgumentRefused as refusal:
            raise refused(str(refusal)) from refusal
        decided = (answer, panel.decision(answer)) if answer else (gr.skip(), gr.skip())
        # On the grid the page has the figures already; for a threshold typed by hand they are made here.
        if at in thresholds:
            return *decided, gr.skip(), gr.skip()
        return *decided, draw_costs(at, prevalence), draw_curves(at, answer)

    arguments = [image, threshold, explain]
    gr.on(
        [],  # the API's alone
        read,
        arguments,
        [result, heatmap],
        api_name=task.name,
        concurrency_id="model",
        concurrency_limit=CONCURRENCY,
        preprocess=False,
    )
    reading = gr.on(
        [image.change, explain.input, again.click],
        show,
        arguments,
        shown,
        api_visibility="private",
        concurrency_id="model",
        concurrency_limit=CONCURRENCY,
        preprocess=False,
        trigger_mode="always_last",
        show_progress_on=[decision, heatmap],
    )
    # Whatever else went wrong, a full queue among it, leaves no earlier answer beside a new picture.
    reading.failure(
        lambda at: (None, None, panel.refusal(NOT_NOW), "", "", draw_curves(at)),
        threshold,
        shown,
        api_visibility="private",
        queue=False,
        preprocess=False,
        show_progress="hidden",
    )
    for kind, (button, made) in reports.items():
        gr.on(
            [button.click],
            take_away(kind),
            arguments,
            made,
            api_visibility="private",
            concurrency_id="model",
            concurrency_limit=CONCURRENCY,
            preprocess=False,
            show_progress_on=[button],
        ).success(None, made, js="(file) => vigil.save(file)", api_visibility="private")
    follow = f"(at) => vigil.follow({json.dumps(task.name)}, at)"
    threshold.change(None, threshold, js=follow, api_visibility="private")
    threshold.change(
        decide_again,
        [result, threshold, prevalence],
        [result, decision, shown_costs, shown_curves],
        api_visibility="private",
        queue=False,
        preprocess=False,
        trigger_mode="always_last",
        show_progress="hidden",
    )
    prevalence.change(
        draw_costs,
        [threshold, prevalence],
        shown_costs,
        api_visibility="private",
        queue=False,
        preprocess=False,
        trigger_mode="always_last",
        show_progress="hidden",
    ).then(None, threshold, js=follow, api_visibility="private")  # where the thumb moved in the meantime
    for button, at in marks.items():
        button.click(None, None, threshold, js=f"() => {at}", api_visibility="private")
    for path, button in examples.items():
        button.click(
            lambda path=str(path): path, outputs=image, api_visibility="private", queue=False, show_progress="hidden"
        )
