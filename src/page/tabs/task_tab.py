"""One task's tab: its controls, its answer and its events."""

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio.to_thread
import gradio as gr
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder

from src.models.checkpoints import Checkpoint
from src.models.predictor import EXPLANATIONS
from src.page.blocks import example_files, html, refused
from src.page.endpoints import MODEL_WORK, NO_PICTURE, as_json, asked, endpoint
from src.page.tabs.summary_part import written_part
from src.page.views import class_meanings, comparison, curves, explanation, result_card, robustness, threshold_costs
from src.results import decisions, evaluation
from src.results.result import GateResult, Result
from src.service import arguments, read_picture
from src.service.arguments import ArgumentRefused
from src.service.read_picture import REPORTS
from src.service.worker_pool import Work
from src.tasks import TASKS

NOT_NOW = "The picture could not be read just now; press Read again in a moment."
NOT_SHOWN = "There is no answer yet; choose to have it shown first."

# A phone's back camera, as fine as it can be, and not as in a mirror: a lesion has a left and a right.
CAMERA = gr.WebcamOptions(
    mirror=False,
    constraints={
        "video": {"facingMode": {"ideal": "environment"}, "width": {"ideal": 1920}, "height": {"ideal": 1440}}
    },
)

Changes = dict[Any, Any]
"""Component -> its new value, as Gradio takes it of an event."""

# Of events that look at no picture: at once, on the server or in the browser.
QUICK: dict[str, Any] = {
    "api_visibility": "private",
    "queue": False,
    "preprocess": False,
    "trigger_mode": "always_last",
    "show_progress": "hidden",
}
READING: dict[str, Any] = {"api_visibility": "private", **MODEL_WORK}


class TaskTab:
    """Draws itself where it is made, within the page's blocks.

    `served` has the task's checkpoints by their folders' names, the default first; `speeds` the milliseconds a picture
    takes each. Where the picture looks like another task's, `elsewhere` is the button to go there and `looks_like`
    holds its name, for whoever knows all tabs.
    """

    def __init__(self, served: Mapping[str, Checkpoint], speeds: Mapping[str, float], work: Work) -> None:
        self.served, self.work = served, work
        self.checkpoint = next(iter(served.values()))
        self.task = TASKS[self.checkpoint.config.vigil.task]
        self.grids = {
            name: threshold_costs.slider_thresholds(evaluation.of(one), _default(one)) for name, one in served.items()
        }
        self.intro = html(result_card.intro(self.task, self.checkpoint))
        with gr.Row(elem_classes="v-columns"):
            # On a phone one below the other; else picture and heat map to the left (page.css).
            with gr.Column(elem_classes="v-left"):
                self._picture()
            with gr.Column():
                self._choice(speeds)
                self._answer()
            with gr.Column(elem_classes="v-left"):
                self._heat_map()
            with gr.Column():
                self._threshold()
                self._details()
        self.curves = html(self.draw_curves(_default(self.checkpoint)), elem_id=f"curves-{self.task.name}")
        self._listen()

    # What it is made of

    def _picture(self) -> None:
        self.image = gr.Image(
            type="filepath",
            image_mode=None,
            sources=["upload", "clipboard", "webcam"] if self.task.name == "skin" else ["upload", "clipboard"],
            webcam_options=CAMERA,
            label="Picture",
            height=300,
            buttons=["fullscreen"],
            placeholder="# Drop a picture here\nor click to choose one",
            alt_text="The picture to read. Some formats, such as TIFF, have no preview here but are read.",
            elem_classes="v-picture",
        )
        self.again = gr.Button("Read again", size="md")
        html(result_card.examples_heading())
        with gr.Row(elem_classes="v-strip"):
            self.examples = {
                path: gr.Button(text.removeprefix("synthetic: ").capitalize(), icon=path, elem_classes="v-example")
                for path, text in example_files(self.task.name).items()
            }

    def _choice(self, speeds: Mapping[str, float]) -> None:
        """The models to choose from; hidden where there is but one."""
        several = len(self.served) > 1
        default, *further = self.served
        self.model = gr.Radio(
            [(comparison.title(self.served[name]), name if name in further else "") for name in (default, *further)],
            value="",
            label="Model",
            visible=several,
            elem_classes="v-explain",
        )
        if several:
            html(comparison.models_table(self.served, speeds))

    def _answer(self) -> None:
        self.decision = html(result_card.empty())
        # The picture that a visitor wants read although it looks like no such picture, and what it looks like; kept by
        # the visitor's page, as are the two below: a server that forgets a session loses nothing.
        self.insisted, self.looks_like = (gr.Textbox("", visible="hidden") for _ in range(2))
        with gr.Row(visible=False) as self.gate:
            self.elsewhere = gr.Button("Open the tab it looks like", variant="primary", size="md")
            self.anyway = gr.Button("Show the answer anyway", size="md")
        with gr.Row(visible=False) as self.asks:
            self.sure = gr.Button("How sure is it?", size="sm")
            self.both = gr.Button("Compare the models", size="sm", visible=len(self.served) > 1)
        self.views, self.said = gr.JSON(visible="hidden"), gr.JSON(visible="hidden")
        self.certainty, self.comparison = html(""), html("")

    def _threshold(self) -> None:
        slider, measured = f"threshold-{self.task.name}", evaluation.of(self.checkpoint)
        with gr.Row():
            self.threshold = gr.Slider(
                0,
                1,
                value=_default(self.checkpoint),
                step=threshold_costs.STEP,
                label="Threshold",
                info="Refer from this p(malignant) on. Lower finds more cancers and raises more false alarms.",
                buttons=["reset"],
                scale=3,
                min_width=280,
                elem_id=slider,
                elem_classes="v-threshold",
            )
            self.prevalence = gr.Slider(
                1,
                threshold_costs.PEOPLE // 2,
                value=threshold_costs.PREVALENCE,
                step=1,
                label=f"Of {threshold_costs.PEOPLE:,} {self.task.counted}, how many have {self.task.disease}?",
                info=threshold_costs.prevalence_hint(measured),
                buttons=["reset"],
                scale=2,
                min_width=220,
            )
        # Each model has marks and promises of its own, of which the chosen one's are shown.
        self.marks: dict[str, gr.Column] = {}
        for name, checkpoint in self.served.items():
            with gr.Column(visible=checkpoint is self.checkpoint, elem_classes="v-own-marks") as self.marks[name]:
                self._marks(checkpoint, slider)
        self.costs = html(
            self.draw_costs(_default(self.checkpoint), threshold_costs.PREVALENCE), elem_id=f"costs-{self.task.name}"
        )

    def _marks(self, checkpoint: Checkpoint, slider: str) -> None:
        measured, default = evaluation.of(checkpoint), _default(checkpoint)
        with gr.Row(elem_classes="v-marks"):
            for mark in threshold_costs.named_thresholds(measured, default):
                gr.Button(
                    f"{mark.name} {'–' if mark.threshold is None else f'{mark.threshold:g}'}",
                    size="sm",
                    interactive=mark.threshold is not None,
                ).click(None, None, self.threshold, js=f"() => {json.dumps(mark.threshold)}", api_visibility="private")
        html(
            threshold_costs.promised_sensitivities(self.task, measured)
            + threshold_costs.slider_ticks(measured, default, slider)
        )

    def _details(self) -> None:
        self.details = html("", "v-details")
        with gr.Row():
            self.reports = {
                kind: (gr.Button(f"Report ({kind.upper()})", size="sm"), gr.DownloadButton(visible="hidden"))
                for kind in REPORTS
            }
        with gr.Accordion("As JSON, what the API returns", open=False):
            self.result = gr.JSON(label="result", show_label=False)
        written_part(self.result)

    def _heat_map(self) -> None:
        self.view = html("")
        self.explain = gr.Radio(
            [("None" if name == "none" else name, name) for name in EXPLANATIONS],
            value="Grad-CAM",
            label="Where did it look?",
            elem_classes="v-explain",
        )
        self.code = gr.Radio(
            [("Most probable class", ""), *((one.name, one.code) for one in self.task.classes)],
            value="",
            label="Argue for",
            elem_classes="v-explain",
        )
        self.heatmap = gr.Image(format="png", label="Heatmap", visible=False)  # the API's alone

    # What happens

    def _listen(self) -> None:
        asked_for = [self.image, self.threshold, self.explain, self.code, self.model]
        self._listen_to_the_picture(asked_for)
        self._listen_to_the_threshold()
        for button, ask, shown in (
            (self.sure, self.look_around, [self.certainty, self.views]),
            (self.both, self.ask_all, [self.comparison, self.said]),
        ):
            button.click(ask, [*asked_for, self.insisted], shown, show_progress_on=shown[:1], **READING)
        for kind, (button, made) in self.reports.items():
            button.click(
                self.take_away(kind), [*asked_for, self.insisted], made, show_progress_on=[button], **READING
            ).success(None, made, js="(file) => vigil.save(file)", api_visibility="private")
        for path, example in self.examples.items():
            example.click(
                lambda path=str(path): path,
                outputs=self.image,
                api_visibility="private",
                queue=False,
                show_progress="hidden",
            )

    def _listen_to_the_picture(self, asked_for: list[Any]) -> None:
        gr.on(
            [],  # the API's alone
            endpoint(self.task, list(self.served), self.work),
            asked_for,
            [self.result, self.heatmap],
            api_name=self.task.name,
            **MODEL_WORK,
        )
        shown = [*self.blank(), self.curves]
        insist = self.anyway.click(
            None, self.image, self.insisted, js="(image) => image?.path ?? ''", api_visibility="private"
        )
        chosen = self.model.change(
            self.choose,
            [self.model, self.prevalence],
            [self.intro, self.threshold, self.costs, *self.marks.values(), *shown],
            **QUICK,
        )
        wanted = [self.image.change, self.explain.input, self.code.input, self.again.click]
        for listen in (partial(gr.on, wanted), insist.then, chosen.then):
            listen(
                self.show,
                [*asked_for, self.insisted],
                shown,
                trigger_mode="always_last",
                show_progress_on=[self.decision, self.view],
                **READING,
            ).failure(
                # Whatever else went wrong, a full queue among it, leaves no earlier answer beside a new picture.
                lambda at, model: {
                    **self.blank(result_card.refusal(NOT_NOW)),
                    self.curves: self.draw_curves(at, model),
                },
                [self.threshold, self.model],
                shown,
                api_visibility="private",
                queue=False,
                preprocess=False,
                show_progress="hidden",
            )

    def _listen_to_the_threshold(self) -> None:
        follow = f"(at) => vigil.follow({json.dumps(self.task.name)}, at)"
        self.threshold.change(None, self.threshold, js=follow, api_visibility="private")
        self.threshold.change(
            self.decide_again,
            [self.result, self.threshold, self.prevalence, self.model, self.views, self.said],
            [self.result, self.decision, self.costs, self.curves, self.certainty, self.comparison],
            **QUICK,
        )
        self.prevalence.change(
            self.draw_costs, [self.threshold, self.prevalence, self.model], self.costs, **QUICK
        ).then(None, self.threshold, js=follow, api_visibility="private")  # where the thumb moved in the meantime

    def name_of(self, model: Any) -> str:
        """The checkpoint folder's name that the page's choice stands for."""
        try:
            return arguments.model_of(model, self.task.name, self.served)
        except ArgumentRefused as refusal:
            raise refused(str(refusal)) from refusal

    def draw_costs(self, threshold: Any, prevalence: Any, model: Any = "") -> str:
        """What a threshold costs with the chosen model."""
        name = self.name_of(model)
        try:
            at, ill = arguments.threshold_of(threshold), arguments.prevalence_of(prevalence)
        except ArgumentRefused as refusal:
            raise refused(str(refusal)) from refusal
        return threshold_costs.cost_section(self.task, evaluation.of(self.served[name]), at, ill, self.grids[name])

    def draw_curves(self, threshold: Any, model: Any = "", result: Result | None = None) -> str:
        """The chosen model's curves, with the picture's own place where there is a result."""
        name = self.name_of(model)
        p = result.p_malignant if result else None
        return curves.curves_section(evaluation.of(self.served[name]), arguments.threshold_of(threshold), self.grids[name], p)

    def blank(self, decision: str = "") -> Changes:
        """Nothing of a picture: `decision` stands in the answer's place."""
        return {
            self.decision: decision or result_card.empty(),
            self.gate: gr.Row(visible=False),
            self.elsewhere: gr.skip(),
            self.asks: gr.Row(visible=False),
            self.looks_like: "",
            self.result: None,
            self.details: "",
            self.view: "",
            self.views: None,
            self.certainty: "",
            self.said: None,
            self.comparison: "",
        }

    async def show(self, image: Any, threshold: Any, explain: Any, code: Any, model: Any, insisted: Any) -> Changes:
        """Read the picture; where the gate does not know it for one of this task, ask before anything is shown."""
        nothing = {self.curves: self.draw_curves(threshold, model)}
        if image is None:
            return {**self.blank(), **nothing}
        try:
            result, layers = await asked(
                self.work, read_picture.looked_at, self.task.name, image, threshold, explain, code, model
            )
        except gr.Error as error:
            # In the answer's place, so that no earlier answer stands beside a picture that could not be read.
            return {**self.blank(result_card.refusal(error.message)), **nothing}
        if insisted != image["path"] and result.gate is not None and not result.gate.accepted:
            return {
                **self.blank(result_card.gate(self.task, result.gate)),
                **nothing,
                **self._ways_on(result.gate),
            }
        measured = evaluation.of(self.served[self.name_of(model)])
        # In a thread, as everybody else's page waits for what this one does.
        view = await anyio.to_thread.run_sync(explanation.view, result, layers, measured)
        return {
            **self.blank(result_card.decision(result)),
            self.asks: gr.Row(visible=True),
            self.result: as_json(result),
            self.details: result_card.details(result) + class_meanings.class_meanings(result),
            self.view: view,
            self.curves: self.draw_curves(threshold, model, result),
        }

    def _ways_on(self, gate: GateResult) -> Changes:
        """The buttons beside the gate's question."""
        other = TASKS.get(gate.looks_like or "")
        return {
            self.gate: gr.Row(visible=True),
            self.looks_like: other.name if other else "",
            self.elsewhere: gr.Button(f"Open {other.title}" if other else "", visible=other is not None),
        }

    def choose(self, model: Any, prevalence: Any) -> Changes:
        """Another model: its own default threshold, marks, costs and curves, and no answer yet."""
        name = self.name_of(model)
        at = _default(self.served[name])
        return {
            **self.blank(),
            self.intro: result_card.intro(self.task, self.served[name]),
            self.threshold: at,
            self.costs: self.draw_costs(at, prevalence, model),
            self.curves: self.draw_curves(at, model),
            **{marks: gr.Column(visible=one == name) for one, marks in self.marks.items()},
        }

    async def _let_through(self, image: Any, model: Any, insisted: Any) -> None:
        """Raises gr.Error where the gate's question was not answered."""
        if image is None:
            raise refused(NO_PICTURE)
        if insisted != image["path"]:
            gate = await asked(self.work, read_picture.gate, self.task.name, image, model)
            if gate is not None and not gate.accepted:
                raise refused(NOT_SHOWN)

    async def look_around(
        self, image: Any, threshold: Any, _explain: Any, _code: Any, model: Any, insisted: Any
    ) -> tuple[str, Any]:
        """How sure is it?"""
        await self._let_through(image, model, insisted)
        found = await asked(self.work, read_picture.robustness, self.task.name, image, threshold, model)
        return robustness.strip(found, threshold, evaluation.of(self.served[self.name_of(model)])), as_json(found)

    async def ask_all(
        self, image: Any, threshold: Any, _explain: Any, _code: Any, model: Any, insisted: Any
    ) -> tuple[str, Any]:
        """All of the task's models on one picture."""
        await self._let_through(image, model, insisted)
        said = await asked(self.work, read_picture.compare_models, self.task.name, image)
        return comparison.side_by_side(said, self.served, threshold), [as_json(one) for one in said]

    def take_away(self, kind: str) -> Callable[..., Awaitable[str]]:
        """Makes a report as `kind`."""

        async def make(image: Any, threshold: Any, explain: Any, code: Any, model: Any, insisted: Any) -> str:
            await self._let_through(image, model, insisted)
            date = datetime.now(UTC)
            data = await asked(
                self.work, read_picture.taken_away, self.task.name, image, threshold, explain, kind, date, code, model
            )
            # Among the uploads, to be swept away with them.
            return save_bytes_to_cache(data, f"vigil-{self.task.name}-{date:%Y-%m-%d}.{kind}", get_upload_folder())

        return make

    def decide_again(
        self, last: Any, threshold: Any, prevalence: Any, model: Any, views: Any = None, said: Any = None
    ) -> Changes:
        """The same answers at another threshold, without another look at the picture."""
        name = self.name_of(model)
        checkpoint = self.served[name]
        try:
            at = arguments.threshold_of(threshold)
            answer = decisions.at_threshold(checkpoint, arguments.result_of(last), at) if last else None
            around = decisions.robustness_at_threshold(arguments.robustness_of(views), at) if views else None
            both = arguments.model_answers_of(said, self.served) if said else None
        except ArgumentRefused as refusal:
            raise refused(str(refusal)) from refusal
        changes: Changes = {self.decision: gr.skip()}  # Gradio takes no empty dict
        # An answer that another model gave is on its way out.
        if answer and answer.model == comparison.title(checkpoint):
            changes |= {self.result: as_json(answer), self.decision: result_card.decision(answer)}
        if around:
            changes[self.certainty] = robustness.strip(around, at, evaluation.of(checkpoint))
        if both:
            changes[self.comparison] = comparison.side_by_side(both, self.served, at)
        # On the grid the page has the figures already; for a threshold typed by hand they are made here.
        if at not in self.grids[name]:
            changes |= {
                self.costs: self.draw_costs(at, prevalence, model),
                self.curves: self.draw_curves(at, model, answer),
            }
        return changes


def _default(checkpoint: Checkpoint) -> float:
    return checkpoint.config.vigil.default_threshold
