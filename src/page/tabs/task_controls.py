"""The components of one task's tab and their layout."""

from collections.abc import Mapping

import gradio as gr

from src.models.prediction import EXPLANATIONS
from src.page.blocks import html
from src.page.number_format import general, thousands
from src.page.tabs.sections import Sections
from src.page.tabs.served_models import ServedModels
from src.page.tabs.summary_part import written_part
from src.page.translation import gettext as _
from src.page.translation import translated
from src.page.views import comparison, page_frame, result_card, threshold_costs
from src.page.views.robustness import no_robustness
from src.service import examples
from src.service.read_picture import DICOM, SUFFIXES

# The back camera of a phone at a high resolution. It is not mirrored, because left and right matter for a lesion.
CAMERA = gr.WebcamOptions(
    mirror=False,
    constraints={
        "video": {"facingMode": {"ideal": "environment"}, "width": {"ideal": 1920}, "height": {"ideal": 1440}}
    },
)


class TaskControls:
    """Draws itself inside the gr.Blocks in which it is created.

    The image stands on the left and the answer on the right; on a phone, the answer follows the image. Below are
    `sections` that open on a click. If the image looks like one of another task, the button `open_other_tab` opens the
    tab of that task, and `other_task` holds its name. `speeds` has the milliseconds per image of each model.
    """

    def __init__(self, models: ServedModels, speeds: Mapping[str, float]) -> None:
        self.models, self.task = models, models.task
        self.sections = Sections(self.task.name)
        self.intro = html(models.intro())
        with gr.Row(elem_classes="v-columns"):
            with gr.Column(elem_classes="v-left"):
                self._draw_image()
            with gr.Column(elem_classes="v-card"):
                self._draw_answer()
        self._draw_costs()
        self._draw_meanings()
        self._draw_explanation()
        self._draw_checks(speeds)
        with self.sections.section("curves"):
            self.curves = html(models.curves_section(models.default_threshold()), elem_id=f"curves-{self.task.name}")
        self._draw_exports()

    @property
    def scale(self) -> list[gr.Number]:
        """The control for micrometres per pixel, if the task has a physical scale."""
        return [] if self.task.mpp is None else [self.mpp]

    def _draw_image(self) -> None:
        with gr.Column(elem_classes="v-place"):
            self.image = gr.Image(
                type="filepath",
                image_mode=None,
                sources=["upload", "webcam", "clipboard"] if self.task.camera else ["upload", "clipboard"],
                webcam_options=CAMERA,
                label=_("Image"),
                buttons=["fullscreen"],
                placeholder=_("# Drop an image here\nor click to choose one"),
                alt_text=_("The image to read. Some formats, such as TIFF, are read but have no preview here."),
                elem_classes="v-image",
            )
            # Once an image is read, it covers the image (task.css).
            self.heat_map = html("", "v-read-image")
        with gr.Row(elem_classes="v-strip"):
            self.examples = {
                path: gr.Button(
                    translated(text.removeprefix("synthetic: ").capitalize()), icon=path, elem_classes="v-example"
                )
                for path, text in examples.images(self.task.name).items()
            }
        html(page_frame.examples_note())
        if self.task.mpp is not None:
            self.mpp = gr.Number(
                None,
                label=_("Micrometres per pixel"),
                info=_(
                    "Most scanners have 0.25 at 40×, 0.5 at 20× and 1 at 10×. Leave this empty if the file states it, "
                    "or if the image is one tile of %(side)s pixels at %(mpp)s µm.",
                    side=self.task.input_side,
                    mpp=general(self.task.mpp),
                ),
            )
        # Hidden if there is only one model.
        several = len(self.models.checkpoints) > 1
        self.model = gr.Radio(
            self.models.choices(), value="", label=_("Model"), visible=several, elem_classes="v-explain"
        )

    def _draw_answer(self) -> None:
        self.decision = html(result_card.no_result())
        # The image that the visitor wants read although the gate rejected it, and the task that it looks like. The
        # visitor's page keeps them and the results below, so the server loses nothing when it drops a session.
        self.accepted_image, self.other_task = (gr.Textbox("", visible="hidden") for _ in range(2))
        # The frame of a cine that the visitor chose, alone and with the path of its image.
        self.wanted_frame = gr.Textbox("", visible="hidden", elem_id=f"frame-{self.task.name}")
        self.chosen_frame = gr.Textbox("", visible="hidden")
        with gr.Row(visible=False) as self.gate_row:
            self.open_other_tab = gr.Button(_("Open the tab it looks like"), variant="primary", size="md")
            self.show_anyway = gr.Button(_("Show the answer anyway"), size="md")
        # task.css hides it where it is of no use.
        always = " v-always" if self.scale else ""
        self.read_again = gr.Button(_("Read again"), size="sm", elem_classes=f"v-read-again{always}")
        default = self.models.default_threshold()
        self.threshold = gr.Slider(
            0,
            1,
            value=default,
            step=threshold_costs.STEP,
            label=_("Threshold"),
            buttons=["reset"],
            elem_id=f"threshold-{self.task.name}",
            elem_classes=["v-threshold", "v-bar"],
        )
        self.named_thresholds = html(self.models.threshold_marks(), "v-marks")
        self.most_probable = html(result_card.no_classes(self.task), "v-details v-most-probable-part")
        self.cost_summary = html(
            self.models.cost_summary(default, threshold_costs.PREVALENCE), elem_id=f"cost-{self.task.name}"
        )

    def _draw_costs(self) -> None:
        with self.sections.section("costs"):
            self.prevalence = gr.Slider(
                1,
                threshold_costs.PEOPLE // 2,
                value=threshold_costs.PREVALENCE,
                step=1,
                label=_(
                    "Of %(people)s %(units)s, how many have %(disease)s?",
                    people=thousands(threshold_costs.PEOPLE),
                    units=translated(self.task.units),
                    disease=translated(self.task.disease),
                ),
                info=threshold_costs.prevalence_hint(self.models.evaluation()),
                buttons=["reset"],
            )
            self.costs = html(
                self.models.cost_section(self.models.default_threshold(), threshold_costs.PREVALENCE),
                elem_id=f"costs-{self.task.name}",
            )

    def _draw_meanings(self) -> None:
        with self.sections.section("classes"):
            self.details = html(result_card.no_details(), "v-details")

    def _draw_explanation(self) -> None:
        with self.sections.section("where"):
            self.method = gr.Radio(
                [(_("None") if name == "none" else name, name) for name in EXPLANATIONS],
                value="Grad-CAM",
                label=_("Where did the model look?"),
                elem_classes="v-explain",
            )
            self.explained_class = gr.Radio(
                [(_("Most probable class"), ""), *((translated(one.name), one.code) for one in self.task.classes)],
                value="",
                label=_("Class to explain"),
                elem_classes="v-explain",
            )
            self.heat_map_trust = html("", "v-details")
        self.heat_map_file = gr.Image(format="png", label="Heatmap", visible=False)  # for the API only

    def _draw_checks(self, speeds: Mapping[str, float]) -> None:
        several = len(self.models.checkpoints) > 1
        with self.sections.section("sure"):
            with gr.Row(visible=False) as self.further_row:
                self.ask_robustness = gr.Button(_("Read altered versions of the image"), size="md")
                self.ask_models = gr.Button(_("Compare the models"), size="md", visible=several)
            self.robustness, self.comparison = html(no_robustness()), html("")
            if several:
                html(comparison.models_table(self.models.checkpoints, speeds))
        self.robustness_result, self.model_answers = gr.JSON(visible="hidden"), gr.JSON(visible="hidden")
        # Another text whenever the opened section is to read the altered versions.
        self.robustness_wanted = gr.Textbox("", visible="hidden")

    def _draw_exports(self) -> None:
        with self.sections.section("report"), gr.Row():
            self.reports = {
                kind: (
                    # A DICOM report needs a DICOM file.
                    gr.Button(_("Report (%(kind)s)", kind=kind.upper()), size="md", visible=kind != DICOM),
                    gr.DownloadButton(visible="hidden"),
                )
                for kind in SUFFIXES
            }
        with self.sections.section("api"):
            self.api_calls = html(
                self.models.api_calls(self.models.default_threshold()), elem_id=f"api-{self.task.name}"
            )
            with gr.Accordion(_("As JSON, as the API returns it"), open=False):
                self.result = gr.JSON(label="result", show_label=False)
        self.sections.by_name["words"] = written_part(self.result, f"section-{self.task.name}-words")
