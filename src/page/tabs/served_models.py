"""The models of one task that the page offers, and the parts of the page that depend on the chosen model alone."""

from collections.abc import Mapping
from typing import Any

from src.models.checkpoint_info import CheckpointInfo
from src.models.evaluation import Evaluation
from src.models.prediction import EXPLANATIONS
from src.page.blocks import refused
from src.page.views import api_calls, comparison, cost_summary, curves, page_frame, threshold_costs
from src.results.result import Result
from src.service import arguments
from src.service.arguments import ArgumentRefused
from src.tasks import TASKS


class ServedModels:
    """The checkpoints of one task by their folders' names, the default first.

    `model` is the page's choice: the name of a folder, or "" for the default. Every method that takes it raises
    gr.Error for a name that is not offered, and for an invalid threshold or prevalence.
    """

    def __init__(self, checkpoints: Mapping[str, CheckpointInfo]) -> None:
        self.checkpoints = checkpoints
        self.default_name, *self.further_names = checkpoints
        self.task = TASKS[checkpoints[self.default_name].config.vigil.task]
        self.slider_thresholds = {
            name: threshold_costs.slider_thresholds(one.evaluation, one.config.vigil.default_threshold)
            for name, one in checkpoints.items()
        }

    def choices(self) -> list[tuple[str, str]]:
        """Title and value of each choice."""
        default = (comparison.title(self.checkpoints[self.default_name]), "")
        return [default, *((comparison.title(self.checkpoints[name]), name) for name in self.further_names)]

    def name(self, model: Any) -> str:
        """The name of the chosen model's checkpoint folder."""
        try:
            return arguments.model_of(model, self.task.name, self.checkpoints)
        except ArgumentRefused as refusal:
            raise refused(str(refusal)) from refusal

    def checkpoint(self, model: Any = "") -> CheckpointInfo:
        """The chosen model's checkpoint."""
        return self.checkpoints[self.name(model)]

    def evaluation(self, model: Any = "") -> Evaluation:
        """The chosen model's evaluation."""
        return self.checkpoint(model).evaluation

    def default_threshold(self, model: Any = "") -> float:
        """The threshold that the model was published with."""
        return self.checkpoint(model).config.vigil.default_threshold

    def intro(self, model: Any = "") -> str:
        """The introduction of the tab with the chosen model, as HTML."""
        return page_frame.task_intro(self.task, self.checkpoint(model))

    def cost_section(self, threshold: Any, prevalence: Any, model: Any = "") -> str:
        """What the threshold costs and promises, as HTML. `prevalence` is how many of 1,000 have the disease."""
        costs = threshold_costs.cost_section(
            self.task, self.evaluation(model), *self._threshold_and_prevalence(threshold, prevalence)
        )
        return costs + threshold_costs.promised_sensitivities(self.task, self.evaluation(model))

    def cost_summary(self, threshold: Any, prevalence: Any, model: Any = "") -> str:
        """The costs in a sentence and a pictograph, as HTML, with the figures for every step of the slider."""
        checked = self._threshold_and_prevalence(threshold, prevalence)
        thresholds = self.slider_thresholds[self.name(model)]
        return cost_summary.cost_summary(self.task, self.evaluation(model), *checked, thresholds)

    def threshold_marks(self, model: Any = "") -> str:
        """The named thresholds of the chosen model, as HTML."""
        return threshold_costs.threshold_marks(self.task, self.evaluation(model), self.default_threshold(model))

    def api_calls(
        self, threshold: Any, explain: Any = EXPLANATIONS[0], code: Any = "", model: Any = "", mpp: Any = None
    ) -> str:
        """The calls of the API that give the answer to these arguments, as HTML."""
        try:
            checked = (
                arguments.threshold_of(threshold),
                arguments.explanation_of(explain),
                arguments.code_of(code, self.task) or "",
                arguments.model_of(model, self.task.name, self.checkpoints),
                arguments.mpp_of(mpp, self.task),
            )
        except ArgumentRefused as refusal:
            raise refused(str(refusal)) from refusal
        return api_calls.api_calls(self.task, *checked)

    def _threshold_and_prevalence(self, threshold: Any, prevalence: Any) -> tuple[float, float]:
        try:
            return arguments.threshold_of(threshold), arguments.prevalence_of(prevalence)
        except ArgumentRefused as refusal:
            raise refused(str(refusal)) from refusal

    def curves_section(self, threshold: Any, model: Any = "", result: Result | None = None) -> str:
        """The model's curves as HTML. If there is a result, they mark the score of its image."""
        try:
            at = arguments.threshold_of(threshold)
        except ArgumentRefused as refusal:
            raise refused(str(refusal)) from refusal
        p = result.p_malignant if result else None
        return curves.curves_section(self.evaluation(model), at, self.slider_thresholds[self.name(model)], p)
