"""The events of one task's tab: which component triggers which event handler."""

import json
from functools import partial
from typing import Any

import gradio as gr

from src.page.endpoints import MODEL_EVENT, endpoint
from src.page.tabs.task_handlers import TaskHandlers
from src.page.views import result_card

QUICK_EVENT: dict[str, Any] = {
    "api_visibility": "private",
    "queue": False,
    "preprocess": False,
    "trigger_mode": "always_last",
    "show_progress": "hidden",
}
"""The settings of events that read no image. They skip the queue."""
READING_EVENT: dict[str, Any] = {"api_visibility": "private", **MODEL_EVENT}


def connect(handlers: TaskHandlers) -> None:
    """Connect the controls with their event handlers, and add the task's endpoint."""
    controls = handlers.controls
    request = [controls.image, controls.threshold, controls.method, controls.explained_class, controls.model]
    gr.on(
        [],  # no component triggers it: it is for the API only
        endpoint(handlers.task, list(handlers.models.checkpoints), handlers.pool),
        [*request, *controls.scale],
        [controls.result, controls.heat_map_file],
        api_name=handlers.task.name,
        **MODEL_EVENT,
    )
    page_request = [*request, controls.accepted_image, controls.chosen_frame, *controls.scale]
    _connect_image(handlers, page_request)
    _connect_threshold(handlers)
    _connect_further_requests(handlers, page_request)


def _connect_image(handlers: TaskHandlers, page_request: list[Any]) -> None:
    """Connect a new image, and everything else that needs the image read again."""
    controls = handlers.controls
    shown = [*handlers.no_answer(), controls.curves]
    accepted = controls.show_anyway.click(
        None, controls.image, controls.accepted_image, js="(image) => image?.path ?? ''", api_visibility="private"
    )
    framed = controls.wanted_frame.change(
        None,
        [controls.wanted_frame, controls.image],
        controls.chosen_frame,
        js="(frame, image) => `${image?.path}#${frame}`",
        api_visibility="private",
    )
    chosen = controls.model.change(
        handlers.choose_model,
        [controls.model, controls.prevalence, controls.threshold],
        [
            controls.intro,
            controls.threshold,
            controls.costs,
            controls.cost_summary,
            controls.api_calls,
            controls.named_thresholds,
            *shown,
        ],
        js=f"(model, prevalence) => [model, prevalence, vigil.takeThreshold({json.dumps(handlers.task.name)})]",
        **QUICK_EVENT,
    )
    # The answer to an earlier image must not stand beside a new one, not even while that is read.
    waiting = [controls.decision, controls.most_probable, controls.heat_map]
    reading = json.dumps([result_card.reading(), result_card.no_classes(handlers.task, reading=True), ""])
    none = json.dumps([result_card.no_result(), result_card.no_classes(handlers.task), ""])
    gr.on(
        [controls.image.change, controls.read_again.click],
        None,
        controls.image,
        waiting,
        js=f"(image) => vigil.waiting(image, {reading}, {none})",
        api_visibility="private",
    )
    triggers = [
        controls.image.change,
        controls.method.input,
        controls.explained_class.input,
        controls.read_again.click,
        *(control.submit for control in controls.scale),
    ]
    for listen in (partial(gr.on, triggers), accepted.then, chosen.then, framed.then):
        read = listen(
            handlers.show,
            page_request,
            [*shown, controls.api_calls],
            trigger_mode="always_last",
            show_progress="hidden",  # the card itself says what happens
            **READING_EVENT,
        )
        read.failure(
            handlers.failed,
            [controls.threshold, controls.model],
            shown,
            api_visibility="private",
            queue=False,
            preprocess=False,
            show_progress="hidden",
        )
        read.success(None, controls.decision, js="(decision) => vigil.speak(decision)", api_visibility="private")

    def choose_example(path: str) -> dict[Any, Any]:
        # An example is one tile, whatever scale was typed for another image.
        return {controls.image: path, **dict.fromkeys(controls.scale)}

    for path, example in controls.examples.items():
        example.click(
            partial(choose_example, str(path)),
            outputs=[controls.image, *controls.scale],
            api_visibility="private",
            queue=False,
            show_progress="hidden",
        )


def _connect_threshold(handlers: TaskHandlers) -> None:
    controls = handlers.controls
    follow = f"(threshold) => vigil.follow({json.dumps(handlers.task.name)}, threshold)"
    controls.threshold.change(None, controls.threshold, js=follow, api_visibility="private")
    controls.threshold.change(
        handlers.decide_again,
        [
            controls.result,
            controls.threshold,
            controls.prevalence,
            controls.model,
            controls.robustness_result,
            controls.model_answers,
        ],
        [
            controls.result,
            controls.decision,
            controls.costs,
            controls.cost_summary,
            controls.curves,
            controls.robustness,
            controls.comparison,
        ],
        **QUICK_EVENT,
    )
    controls.prevalence.change(
        handlers.choose_prevalence,
        [controls.threshold, controls.prevalence, controls.model],
        [controls.costs, controls.cost_summary],
        **QUICK_EVENT,
    )


def _connect_further_requests(handlers: TaskHandlers, page_request: list[Any]) -> None:
    """Connect the buttons that request more about the image that was read."""
    controls = handlers.controls
    controls.sections.by_name["sure"].expand(
        None,
        [controls.result, controls.robustness_result],
        controls.robustness_wanted,
        js="(result, found) => vigil.wanted(result && !found)",
        api_visibility="private",
    )
    for triggers, ask, shown in (
        (
            [controls.ask_robustness.click, controls.robustness_wanted.change],
            handlers.check_robustness,
            [controls.robustness, controls.robustness_result],
        ),
        ([controls.ask_models.click], handlers.compare_models, [controls.comparison, controls.model_answers]),
    ):
        gr.on(triggers, ask, page_request, shown, show_progress_on=shown[:1], **READING_EVENT)
    for kind, (button, file) in controls.reports.items():
        button.click(
            handlers.report_maker(kind), page_request, file, show_progress_on=[button], **READING_EVENT
        ).success(None, file, js="(file) => vigil.save(file)", api_visibility="private")
