"""The page and the server: `python app.py` opens one page, a tab and an API endpoint for each task of src/tasks.py.

All of Gradio is in here; what is read, decided, said and drawn is src's. Nothing of a picture is logged, and what was
uploaded or drawn is deleted within an hour. GRADIO_SERVER_PORT and GRADIO_SERVER_NAME set where it listens.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import gradio as gr
from gradio.blocks import BlockFunction
from gradio.data_classes import APIInfo
from gradio.processing_utils import save_bytes_to_cache
from gradio.state_holder import SessionState
from gradio.utils import get_upload_folder, is_in_or_equal
from PIL import Image

from src import answers, costs, curves, device, evidence, local, meaning, panel, report, weights
from src.answers import ArgumentRefused, Result
from src.images import MAX_BYTES, ImageRefused
from src.predictor import EXPLANATIONS, Predictor
from src.tasks import TASKS
from src.weights import Checkpoint

ROOT = Path(__file__).resolve().parent
EXAMPLES: Final[dict[str, str]] = json.loads((ROOT / "examples" / "examples.json").read_text(encoding="utf-8"))
"""Path below examples/ -> "synthetic: what it shows"."""

CONCURRENCY = 2  # pictures in work at once, on all tabs together: one is decoded while another is in the network
WAITING = 40  # more than these are told to come back later
SESSIONS = 200  # each costs 50 to 340 KB; none holds a result, so one that is dropped loses nothing
SWEEP, KEPT = 300, 3300  # seconds: every file is swept away within an hour

NOT_NOW = "The picture could not be read just now; press Read again in a moment."
NO_PICTURE = "Choose a picture first."
NOT_UPLOADED = "The picture must be uploaded, again after an hour; addresses and data: texts are not opened."

REPORTS: Final[dict[str, Callable[..., bytes]]] = {"pdf": report.pdf, "json": report.as_json}

FILE = {"meta": {"_type": "gradio.FileData"}}

Answer = tuple[Result, Image.Image | None]


class Page(gr.Blocks):
    """gr.Blocks that fetches nothing: a picture reaches us as an uploaded file or not at all.

    Gradio would download addresses before any function of ours is called. Its components look at no argument either:
    our events run with preprocess=False, since gr.Image would open the file with all of Pillow's 43 formats first.
    (A subclass of gr.Image would do, but Gradio writes an app.pyi for one, which type checkers then read for app.py.)
    """

    async def preprocess_data(
        self, block_fn: BlockFunction, inputs: list[Any], state: SessionState | None, explicit_call: bool = False
    ) -> list[Any]:
        """As Gradio's, after the pictures among `inputs` were looked at."""
        checked = [
            uploaded(value) if isinstance(block, gr.Image | gr.File) else value
            for block, value in zip(block_fn.inputs, inputs, strict=False)
        ]
        return await super().preprocess_data(block_fn, checked, state, explicit_call)

    def get_api_info(self, all_endpoints: bool = False, page: str | None = None) -> APIInfo:
        """As Gradio's, with a file as the example in place of an address on the web."""
        info = super().get_api_info(all_endpoints, page)
        for described in info["named_endpoints"].values():
            for parameter in described["parameters"]:
                if parameter["component"] == "Image":
                    parameter["example_input"] = {"path": "picture.jpg", "url": "picture.jpg", **FILE}
                    parameter["python_type"]["description"] = parameter["type"]["description"] = "A picture file"
        return info


def uploaded(value: object) -> dict[str, Any] | None:
    """A picture argument as Gradio hands it on, where it names an uploaded file or an example; None where it is none.

    Raises gr.Error for anything else.
    """
    if value is None:
        return None
    path = value.get("path") if isinstance(value, Mapping) else None
    try:
        known = isinstance(path, str) and (
            Path(path) in example_files() or (is_in_or_equal(path, get_upload_folder()) and Path(path).is_file())
        )
    except (OSError, ValueError):  # longer than a path can be, or with a NUL in it
        known = False
    if not known:
        raise refused(NOT_UPLOADED)
    return {"path": path, **FILE}


def refused(sentence: str) -> gr.Error:
    """What reaches page and client as one sentence, and the log not at all."""
    return gr.Error(sentence, print_exception=False, title="Not read")


def example_files(task: str = "") -> dict[Path, str]:
    """The pictures to click on, of one task or all, and what each shows."""
    return {ROOT / "examples" / name: text for name, text in EXAMPLES.items() if name.startswith(task)}


def endpoint(predictor: Predictor) -> Callable[[Any, Any, Any], Answer]:
    """The API's function for one task."""

    def read(image: Any, threshold: Any, explain: Any) -> Answer:
        if image is None:
            raise refused(NO_PICTURE)
        try:
            return answers.answer(predictor, image["path"], threshold, explain)
        except (ArgumentRefused, ImageRefused) as refusal:
            raise refused(str(refusal)) from refusal

    return device.lent(read)


def describe(predictor: Predictor) -> str:
    """The endpoint's text on the API page."""
    task = predictor.task
    return (
        f"Reads {task.modality}. image: a file (JPEG, PNG, WebP, TIFF or BMP, at most {MAX_BYTES // 10**6} MB). "
        "threshold: 0 to 1; the decision is `refer` where p_malignant reaches it, else `no referral` (default: the "
        f"model's own). explain: {', '.join(EXPLANATIONS)}. Returns `result` (task, model, revision, p_malignant, "
        "threshold, decision, classes, quality, operating_point with 95% intervals on the test split or null, "
        "disclaimer, explanation, explained_class, heatmap_empty, size, region, region_kind, screening: this "
        "threshold's costs at home and away, and the thresholds that promise a sensitivity, confidence in the most "
        "probable class: high, medium or low, meaning of every class) and the heat map over the picture (null for "
        "none). Research and education only, not a diagnosis."
    )


def html(markup: str, classes: str = "", elem_id: str | None = None) -> gr.HTML:
    """Our own markup with our own style sheet alone."""
    return gr.HTML(markup, apply_default_css=False, elem_classes=["v-html", classes], elem_id=elem_id)


def tab(predictor: Predictor) -> None:
    """One task's controls, answer and events, in the current layout."""
    task, measured = predictor.task, predictor.checkpoint.measured
    default = predictor.checkpoint.config.vigil.default_threshold
    thresholds, slider = costs.grid(measured, default), f"threshold-{task.name}"
    read = endpoint(predictor)

    def draw_costs(threshold: Any, prevalence: Any) -> str:
        try:
            asked = answers.threshold_of(threshold), answers.prevalence_of(prevalence)
        except ArgumentRefused as refusal:
            raise refused(str(refusal)) from refusal
        return costs.panel(task, measured, *asked, thresholds)

    def draw_curves(threshold: Any, result: Any = None) -> str:
        return curves.figures(measured, answers.threshold_of(threshold), thresholds, result and result["p_malignant"])

    html(panel.intro(task, predictor.checkpoint))
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
            # Read anew: what a browser sends as the result could be of another picture, or made up.
            answer, drawn = read(image, threshold, explain)
            date = datetime.now(UTC)
            data = REPORTS[kind](answer, predictor.read(image["path"]).image, drawn, date)
            # Among the uploads, to be swept away with them.
            return save_bytes_to_cache(data, f"vigil-{task.name}-{date:%Y-%m-%d}.{kind}", get_upload_folder())

        return make

    def decide_again(last: Any, threshold: Any, prevalence: Any) -> tuple[Any, ...]:
        try:
            answer = last and answers.decided_again(predictor, last, threshold)
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
        api_description=describe(predictor),
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


def evidence_tab(checkpoints: Sequence[Checkpoint]) -> None:
    """What is known of each model, one chosen at a time."""
    models = evidence.models(checkpoints)
    pages = {model.title: evidence.page(model) for model in models}
    html(evidence.overview(models))
    chosen = gr.Radio(list(pages), value=models[0].title, label="In full", elem_classes="v-explain")
    shown = html(pages[models[0].title])
    chosen.input(pages.get, chosen, shown, api_visibility="private", queue=False, show_progress="hidden")


def clinic_tab(predictors: Mapping[str, Predictor]) -> None:
    """A table of a clinic's own scores, read once and deleted; what it says is kept by the visitor's page alone."""

    def read(table: Any, task: Any) -> tuple[dict[str, str], None]:
        file = Path(table["path"]) if table else None
        if file is None or file in example_files() or task not in predictors:
            raise refused(NOT_UPLOADED)
        default = predictors[task].checkpoint.config.vigil.default_threshold
        try:
            shown = local.report(local.read(local.text_of(file), TASKS[task]), default)
        except local.TableRefused as refusal:
            return dict.fromkeys(map(str, local.TARGETS), local.refusal(str(refusal))), None
        finally:
            file.unlink(missing_ok=True)
        return {str(target): local.as_html(shown, target) for target in local.TARGETS}, None

    html(local.intro())
    with gr.Row():
        task = gr.Radio(
            [(TASKS[name].title, name) for name in predictors],
            value=next(iter(predictors)),
            label="Scores of",
            elem_classes="v-explain",
        )
        target = gr.Radio(
            [(f"{target:.0%}", str(target)) for target in local.TARGETS],
            value="0.95",
            label="Sensitivity to keep",
            elem_classes="v-explain",
        )
    table = gr.File(label="Table of scores and outcomes (CSV)", file_types=[".csv"], height=150)
    answers_by_target = gr.JSON(visible="hidden")
    shown = html("")
    reading = table.upload(
        read,
        [table, task],
        [answers_by_target, table],
        api_visibility="private",
        concurrency_id="table",
        preprocess=False,
        show_progress_on=shown,
    )
    show = "(answers, target) => answers ? answers[target] : ''"
    for event in (reading.then, target.input):
        event(None, [answers_by_target, target], shown, js=show, api_visibility="private")
    task.input(None, None, [answers_by_target, shown], js="() => [null, '']", api_visibility="private")


def build(predictors: Mapping[str, Predictor]) -> gr.Blocks:
    """The page for these predictors, by task name, in the order of src/tasks.py."""
    gr.set_static_paths([str(path) for path in example_files()])
    with Page(title="Vigil", analytics_enabled=False, delete_cache=(SWEEP, KEPT)) as page:
        html(panel.header() + panel.notice())
        with gr.Tabs():
            for name, task in TASKS.items():
                if name in predictors:
                    with gr.Tab(task.title, id=name):
                        tab(predictors[name])
            with gr.Tab("Evidence", id="evidence"):
                evidence_tab([predictor.checkpoint for predictor in predictors.values()])
            with gr.Tab("Your clinic", id="clinic"):
                clinic_tab(predictors)
    page.queue(default_concurrency_limit=CONCURRENCY, max_size=WAITING, api_open=False)
    return page


def theme() -> gr.themes.Base:
    """Calm and clinical; fonts of the visitor's own system, so that nothing is fetched to draw the page."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.slate,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        font=["Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"],
        font_mono=["SFMono-Regular", "Consolas", "Liberation Mono", "monospace"],
    ).set(
        # Darker than Gradio's own, for a contrast of 4.5 and more.
        body_background_fill="*neutral_50",
        body_text_color_subdued="*neutral_600",
        block_title_text_color="*neutral_700",
        block_label_text_color="*neutral_700",
        block_background_fill="white",
        block_radius="*radius_md",
        color_accent="*primary_700",
        button_secondary_background_fill="white",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_600",
        button_border_width="1px",
    )


def main() -> None:
    """Load every task's checkpoint and serve the page until stopped."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "fontTools"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # All at once, so that a Hub that does not answer is waited for once, not four times.
    with ThreadPoolExecutor(len(TASKS)) as pool:
        found = zip(TASKS, pool.map(weights.find, TASKS), strict=True)
        predictors = {name: Predictor(checkpoint, device.name()) for name, checkpoint in found}
    build(predictors).launch(
        theme=theme(),
        css_paths=ROOT / "src" / "page.css",
        js=(ROOT / "src" / "page.js").read_text(encoding="utf-8"),
        footer_links=["api", "settings"],
        max_file_size=MAX_BYTES,
        show_error=False,
        enable_monitoring=False,
        run_history=False,
        state_session_capacity=SESSIONS,
        ssr_mode=False,
    )


if __name__ == "__main__":
    main()
