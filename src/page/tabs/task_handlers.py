"""The event handlers of one task's tab: they return the new values of its components."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import anyio.to_thread
import gradio as gr
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder

from src.page.blocks import refused
from src.page.endpoints import as_json, call_service
from src.page.tabs.served_models import ServedModels
from src.page.tabs.task_controls import TaskControls
from src.page.translation import gettext as _
from src.page.translation import marked, translated
from src.page.views import comparison, result_card
from src.page.views.class_meanings import class_meanings
from src.page.views.explanation import heat_map_trust, heat_map_viewer
from src.page.views.robustness import no_robustness, robustness_section
from src.results import decisions
from src.results.result import GateResult, Result
from src.service import arguments, read_picture
from src.service.arguments import ArgumentRefused
from src.service.worker_pool import WorkerPool
from src.tasks import TASKS

NOT_NOW = marked("The image could not be read just now. Press Read again in a moment.")

Changes = dict[Any, Any]
"""Component -> its new value, as an event handler of Gradio returns it."""


class TaskHandlers:
    """Handles the events of `controls` with the task's `models`, which `pool` runs.

    Arguments come from a visitor's browser and may be anything. An argument that cannot be used raises gr.Error with
    one sentence.
    """

    def __init__(self, controls: TaskControls, models: ServedModels, pool: WorkerPool) -> None:
        self.controls, self.models, self.pool = controls, models, pool
        self.task = models.task

    def no_answer(self, decision: str = "") -> Changes:
        """Clear the answer. `decision` is the HTML to show in place of the decision."""
        controls = self.controls
        return {
            controls.decision: decision or result_card.no_result(),
            controls.gate_row: gr.Row(visible=False),
            controls.open_other_tab: gr.skip(),
            controls.further_row: gr.Row(visible=False),
            controls.reports[read_picture.DICOM][0]: gr.Button(visible=False),
            controls.other_task: "",
            controls.result: None,
            controls.most_probable: result_card.no_classes(self.task),
            controls.details: result_card.no_details(),
            controls.heat_map: "",
            controls.heat_map_trust: "",
            controls.robustness_result: None,
            controls.robustness: no_robustness(),
            controls.model_answers: None,
            controls.comparison: "",
        }

    def failed(self, threshold: Any, model: Any) -> Changes:
        """Replace the answer after an event that failed, for example in a full queue.

        An earlier answer must not stay beside a new image.
        """
        return {**self.no_answer(result_card.refusal(NOT_NOW)), **self._curves(threshold, model)}

    async def show(
        self,
        image: Any,
        threshold: Any,
        explain: Any,
        code: Any,
        model: Any,
        accepted_image: Any,
        frame: Any = None,
        mpp: Any = None,
    ) -> AsyncIterator[Changes]:
        """The answer to the image. While it waits, its place in the queue stands in place of the decision."""
        answer = asyncio.ensure_future(self.answer(image, threshold, explain, code, model, accepted_image, frame, mpp))
        try:
            async for place in self.pool.turns.places(answer):
                yield {self.controls.decision: result_card.reading(place)}
            yield await answer
        finally:
            answer.cancel()

    async def answer(
        self,
        image: Any,
        threshold: Any,
        explain: Any,
        code: Any,
        model: Any,
        accepted_image: Any,
        frame: Any = None,
        mpp: Any = None,
    ) -> Changes:
        """Read the image. If the gate rejects it, ask the visitor before anything is shown."""
        without_result = self._curves(threshold, model)
        if image is None:
            return {**self.no_answer(), **without_result}
        try:
            result, layers = await call_service(
                self.pool,
                read_picture.answer_in_layers,
                self.task.name,
                image,
                threshold,
                explain,
                code,
                model,
                _scale(mpp),
                _frame(image, frame),
            )
        except gr.Error as error:
            # It replaces the answer, because an earlier answer must not stand beside an image that could not be read.
            return {**self.no_answer(result_card.refusal(error.message)), **without_result}
        if result.rejected and not _is_accepted(image, accepted_image):
            return {**self._question(result.gate), **without_result}
        # In a thread, so that other visitors' pages do not wait.
        heat_map = await anyio.to_thread.run_sync(heat_map_viewer, result, layers)
        return {
            **self.no_answer(result_card.decision(result)),
            **self._curves(threshold, model, result),
            self.controls.further_row: gr.Row(visible=True),
            self.controls.reports[read_picture.DICOM][0]: gr.Button(visible=read_picture.is_dicom_file(image["path"])),
            self.controls.result: as_json(result),
            self.controls.most_probable: result_card.most_probable(result),
            self.controls.details: result_card.details(result) + class_meanings(result),
            self.controls.heat_map: heat_map,
            self.controls.heat_map_trust: heat_map_trust(result, self.models.evaluation(model)),
            self.controls.api_calls: self.models.api_calls(threshold, explain, code, model, _scale(mpp)),
        }

    def choose_prevalence(self, threshold: Any, prevalence: Any, model: Any) -> Changes:
        """The costs if another number of people have the disease."""
        return self._costs(threshold, prevalence, model)

    def _costs(self, threshold: Any, prevalence: Any, model: Any) -> Changes:
        return {
            self.controls.costs: self.models.cost_section(threshold, prevalence, model),
            self.controls.cost_summary: self.models.cost_summary(threshold, prevalence, model),
        }

    def _curves(self, threshold: Any, model: Any, result: Result | None = None) -> Changes:
        return {self.controls.curves: self.models.curves_section(threshold, model, result)}

    def _question(self, gate: GateResult) -> Changes:
        """The gate's question, and the buttons that answer it."""
        other = TASKS.get(gate.looks_like or "")
        return {
            **self.no_answer(result_card.gate_question(self.task, gate)),
            self.controls.gate_row: gr.Row(visible=True),
            self.controls.other_task: other.name if other else "",
            self.controls.open_other_tab: gr.Button(
                _("Open %(tab)s", tab=translated(other.title)) if other else "", visible=other is not None
            ),
        }

    def choose_model(self, model: Any, prevalence: Any, threshold: Any = None) -> Changes:
        """Another model: named thresholds, costs and curves, and no answer yet. `threshold`: None for its own."""
        if threshold is None:
            threshold = self.models.default_threshold(model)
        return {
            **self.no_answer(),
            **self._curves(threshold, model),
            self.controls.intro: self.models.intro(model),
            self.controls.threshold: threshold,
            **self._costs(threshold, prevalence, model),
            self.controls.api_calls: self.models.api_calls(threshold, model=model),
            self.controls.named_thresholds: self.models.threshold_marks(model),
        }

    async def check_robustness(
        self,
        image: Any,
        threshold: Any,
        _explain: Any,
        _code: Any,
        model: Any,
        accepted_image: Any,
        frame: Any = None,
        mpp: Any = None,
    ) -> tuple[str, Any]:
        """The predictions for altered versions of the image, as HTML and as JSON."""
        accepted = _is_accepted(image, accepted_image)
        found = await call_service(
            self.pool,
            read_picture.robustness,
            self.task.name,
            image,
            threshold,
            model,
            accepted,
            _scale(mpp),
            _frame(image, frame),
        )
        return robustness_section(found, threshold, self.models.evaluation(model)), as_json(found)

    async def compare_models(
        self,
        image: Any,
        threshold: Any,
        _explain: Any,
        _code: Any,
        model: Any,
        accepted_image: Any,
        frame: Any = None,
        mpp: Any = None,
    ) -> tuple[str, Any]:
        """The answer of each of the task's models to one image, as HTML and as JSON."""
        accepted = _is_accepted(image, accepted_image)
        answers = await call_service(
            self.pool,
            read_picture.compare_models,
            self.task.name,
            image,
            model,
            accepted,
            _scale(mpp),
            _frame(image, frame),
        )
        shown = comparison.side_by_side(answers, self.models.checkpoints, threshold)
        return shown, [as_json(one) for one in answers]

    def report_maker(self, kind: str) -> Callable[..., Awaitable[str]]:
        """The event handler that makes a report of `kind` and returns the path of its file."""

        async def make_report(
            image: Any,
            threshold: Any,
            explain: Any,
            code: Any,
            model: Any,
            accepted_image: Any,
            frame: Any = None,
            mpp: Any = None,
        ) -> str:
            date, accepted = datetime.now(UTC), _is_accepted(image, accepted_image)
            details = (threshold, explain, kind, date, code, model, accepted, _scale(mpp), _frame(image, frame))
            data = await call_service(self.pool, read_picture.report, self.task.name, image, *details)
            # It is saved beside the uploads, so that it is deleted with them.
            name = f"vigil-{self.task.name}-{date:%Y-%m-%d}.{read_picture.SUFFIXES[kind]}"
            return save_bytes_to_cache(data, name, get_upload_folder())

        return make_report

    def decide_again(
        self, last_result: Any, threshold: Any, prevalence: Any, model: Any, robustness: Any = None, answers: Any = None
    ) -> Changes:
        """The same answers at another threshold. No image is read again.

        `last_result`, `robustness` and `answers` are JSON from the visitor's browser, or None.
        """
        checkpoint, controls = self.models.checkpoint(model), self.controls
        try:
            at = arguments.threshold_of(threshold)
            result = decisions.at_threshold(checkpoint, arguments.result_of(last_result), at) if last_result else None
            found = decisions.robustness_at_threshold(arguments.robustness_of(robustness), at) if robustness else None
            compared = arguments.model_answers_of(answers, self.models.checkpoints) if answers else None
        except ArgumentRefused as refusal:
            raise refused(str(refusal)) from refusal
        changes: Changes = {controls.decision: gr.skip()}  # Gradio takes no empty dict
        # If another model gave the result, it is about to be replaced.
        if result and result.model == comparison.title(checkpoint):
            changes |= {controls.result: as_json(result), controls.decision: result_card.decision(result)}
        if found:
            changes[controls.robustness] = robustness_section(found, at, self.models.evaluation(model))
        if compared:
            changes[controls.comparison] = comparison.side_by_side(compared, self.models.checkpoints, at)
        # The page has the figures for every step of the slider. A threshold that is typed may lie between two steps.
        if at not in self.models.slider_thresholds[self.models.name(model)]:
            changes |= {
                **self._costs(at, prevalence, model),
                **self._curves(at, model, result),
            }
        return changes


def _scale(mpp: Any) -> Any:
    """The number that was typed, else None. If nothing was typed, Gradio's number field sends either 0 or None."""
    return mpp or None


def _frame(image: Any, chosen: Any) -> int | None:
    """The index of the frame that the visitor chose in this image, a cine; None if none was chosen in it."""
    path, _, index = str(chosen or "").rpartition("#")
    return int(index) if image is not None and path == image["path"] and index.isdecimal() else None


def _is_accepted(image: Any, accepted_image: Any) -> bool:
    """Whether the visitor has asked for the answer to this image although the gate may reject it."""
    return image is not None and accepted_image == image["path"]
