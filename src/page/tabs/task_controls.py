"""The components of one task's tab and their layout."""

import json
from collections.abc import Mapping

import gradio as gr

from src.models.prediction import EXPLANATIONS
from src.page.blocks import example_files, html
from src.page.tabs.served_models import ServedModels
from src.page.tabs.summary_part import written_part
from src.page.views import comparison, page_frame, result_card, threshold_costs
from src.service.read_picture import REPORTS

# The back camera of a phone at a high resolution. It is not mirrored, because left and right matter for a lesion.
CAMERA = gr.WebcamOptions(
    mirror=False,
    constraints={
        "video": {"facingMode": {"ideal": "environment"}, "width": {"ideal": 1920}, "height": {"ideal": 1440}}
    },
)


class TaskControls:
    """Draws itself inside the gr.Blocks in which it is created.

    `speeds` has the milliseconds per image of each model. If the image looks like one of another task, the button
    `open_other_tab` opens the tab of that task, and `other_task` holds its name.
    """

    def __init__(self, models: ServedModels, speeds: Mapping[str, float]) -> None:
        self.models, self.task = models, models.task
        self.intro = html(models.intro())
        with gr.Row(elem_classes="v-columns"):
            # A phone shows one column. On a wide screen, image and heat map stand on the left (page.css).
            with gr.Column(elem_classes="v-left"):
                self._draw_image()
            with gr.Column():
                self._draw_models(speeds)
                self._draw_answer()
            with gr.Column(elem_classes="v-left"):
                self._draw_heat_map()
            with gr.Column():
                self._draw_threshold()
                self._draw_details()
        self.curves = html(models.curves_section(models.default_threshold()), elem_id=f"curves-{self.task.name}")

    def _draw_image(self) -> None:
        self.image = gr.Image(
            type="filepath",
            image_mode=None,
            sources=["upload", "clipboard", "webcam"] if self.task.camera else ["upload", "clipboard"],
            webcam_options=CAMERA,
            label="Image",
            height=300,
            buttons=["fullscreen"],
            placeholder="# Drop an image here\nor click to choose one",
            alt_text="The image to read. Some formats, such as TIFF, are read but have no preview here.",
            elem_classes="v-image",
        )
        if self.task.mpp is not None:
            self.mpp = gr.Number(
                None,
                label="Micrometres per pixel",
                info="Most scanners have 0.25 at 40×, 0.5 at 20× and 1 at 10×. Leave this empty if the file states it, "
                f"or if the image is one tile of {self.task.input_side} pixels at {self.task.mpp:g} µm.",
            )
        self.read_again = gr.Button("Read again", size="md")
        html(page_frame.examples_heading())
        with gr.Row(elem_classes="v-strip"):
            self.examples = {
                path: gr.Button(text.removeprefix("synthetic: ").capitalize(), icon=path, elem_classes="v-example")
                for path, text in example_files(self.task.name).items()
            }

    @property
    def scale(self) -> list[gr.Number]:
        """The control for micrometres per pixel, if the task has a physical scale."""
        return [] if self.task.mpp is None else [self.mpp]

    def _draw_models(self, speeds: Mapping[str, float]) -> None:
        """The models to choose from; hidden if there is only one."""
        several = len(self.models.checkpoints) > 1
        self.model = gr.Radio(self.models.choices(), value="", label="Model", visible=several, elem_classes="v-explain")
        if several:
            html(comparison.models_table(self.models.checkpoints, speeds))

    def _draw_answer(self) -> None:
        self.decision = html(result_card.no_result())
        # The image that the visitor wants read although the gate rejected it, and the task that it looks like. The
        # visitor's page keeps them and the two results below, so the server loses nothing when it drops a session.
        self.accepted_image, self.other_task = (gr.Textbox("", visible="hidden") for _ in range(2))
        with gr.Row(visible=False) as self.gate_row:
            self.open_other_tab = gr.Button("Open the tab it looks like", variant="primary", size="md")
            self.show_anyway = gr.Button("Show the answer anyway", size="md")
        with gr.Row(visible=False) as self.further_row:
            self.ask_robustness = gr.Button("How sure is it?", size="sm")
            self.ask_models = gr.Button("Compare the models", size="sm", visible=len(self.models.checkpoints) > 1)
        self.robustness_result, self.model_answers = gr.JSON(visible="hidden"), gr.JSON(visible="hidden")
        self.robustness, self.comparison = html(""), html("")

    def _draw_threshold(self) -> None:
        default, evaluation = self.models.default_threshold(), self.models.evaluation()
        with gr.Row():
            self.threshold = gr.Slider(
                0,
                1,
                value=default,
                step=threshold_costs.STEP,
                label="Threshold",
                info="An image is referred if its p(malignant) reaches this value. A lower threshold finds more "
                "cancers and raises more false alarms.",
                buttons=["reset"],
                scale=3,
                min_width=280,
                elem_id=f"threshold-{self.task.name}",
                elem_classes="v-threshold",
            )
            self.prevalence = gr.Slider(
                1,
                threshold_costs.PEOPLE // 2,
                value=threshold_costs.PREVALENCE,
                step=1,
                label=f"Of {threshold_costs.PEOPLE:,} {self.task.units}, how many have {self.task.disease}?",
                info=threshold_costs.prevalence_hint(evaluation),
                buttons=["reset"],
                scale=2,
                min_width=220,
            )
        # Each model has its own named thresholds. Only those of the chosen model are visible.
        self.named_thresholds: dict[str, gr.Column] = {}
        for name in self.models.checkpoints:
            visible = name == self.models.default_name
            with gr.Column(visible=visible, elem_classes="v-model-thresholds") as self.named_thresholds[name]:
                self._draw_named_thresholds(name)
        self.costs = html(
            self.models.cost_section(default, threshold_costs.PREVALENCE), elem_id=f"costs-{self.task.name}"
        )

    def _draw_named_thresholds(self, name: str) -> None:
        evaluation, default = self.models.evaluation(name), self.models.default_threshold(name)
        with gr.Row(elem_classes="v-named-thresholds"):
            for named in threshold_costs.named_thresholds(evaluation, default):
                gr.Button(
                    f"{named.name} {'–' if named.threshold is None else f'{named.threshold:g}'}",
                    size="sm",
                    interactive=named.threshold is not None,
                ).click(None, None, self.threshold, js=f"() => {json.dumps(named.threshold)}", api_visibility="private")
        html(
            threshold_costs.promised_sensitivities(self.task, evaluation)
            + threshold_costs.slider_ticks(evaluation, default, f"threshold-{self.task.name}")
        )

    def _draw_details(self) -> None:
        self.details = html("", "v-details")
        with gr.Row():
            self.reports = {
                kind: (gr.Button(f"Report ({kind.upper()})", size="sm"), gr.DownloadButton(visible="hidden"))
                for kind in REPORTS
            }
        with gr.Accordion("As JSON, as the API returns it", open=False):
            self.result = gr.JSON(label="result", show_label=False)
        written_part(self.result)

    def _draw_heat_map(self) -> None:
        self.heat_map = html("")
        self.method = gr.Radio(
            [("None" if name == "none" else name, name) for name in EXPLANATIONS],
            value="Grad-CAM",
            label="Where did the model look?",
            elem_classes="v-explain",
        )
        self.explained_class = gr.Radio(
            [("Most probable class", ""), *((one.name, one.code) for one in self.task.classes)],
            value="",
            label="Class to explain",
            elem_classes="v-explain",
        )
        self.heat_map_file = gr.Image(format="png", label="Heatmap", visible=False)  # for the API only
