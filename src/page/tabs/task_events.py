"""The events of one task's tab: which component asks for which answer."""

import json
from functools import partial
from typing import Any

import gradio as gr

from src.page.endpoints import MODEL_WORK, endpoint
from src.page.tabs.task_answers import TaskAnswers

# Of events that read no picture: they run at once, on the server or in the browser.
QUICK: dict[str, Any] = {
    "api_visibility": "private",
    "queue": False,
    "preprocess": False,
    "trigger_mode": "always_last",
    "show_progress": "hidden",
}
READING: dict[str, Any] = {"api_visibility": "private", **MODEL_WORK}


def connect(answers: TaskAnswers) -> None:
    """Connect the controls with their answers, and add the task's endpoint."""
    controls = answers.controls
    request = [controls.image, controls.threshold, controls.method, controls.explained_class, controls.model]
    gr.on(
        [],  # no component asks: it is for the API only
        endpoint(answers.task, list(answers.models.checkpoints), answers.work),
        [*request, *controls.scale],
        [controls.result, controls.heat_map_file],
        api_name=answers.task.name,
        **MODEL_WORK,
    )
    page_request = [*request, controls.accepted_image, *controls.scale]
    _connect_picture(answers, page_request)
    _connect_threshold(answers)
    _connect_questions(answers, page_request)


def _connect_picture(answers: TaskAnswers, page_request: list[Any]) -> None:
    """A new picture, and whatever else needs the picture read again."""
    controls = answers.controls
    shown = [*answers.nothing(), controls.curves]
    accepted = controls.show_anyway.click(
        None, controls.image, controls.accepted_image, js="(image) => image?.path ?? ''", api_visibility="private"
    )
    chosen = controls.model.change(
        answers.choose_model,
        [controls.model, controls.prevalence],
        [controls.intro, controls.threshold, controls.costs, *controls.named_thresholds.values(), *shown],
        **QUICK,
    )
    triggers = [
        controls.image.change,
        controls.method.input,
        controls.explained_class.input,
        controls.read_again.click,
        *(control.submit for control in controls.scale),
    ]
    for listen in (partial(gr.on, triggers), accepted.then, chosen.then):
        listen(
            answers.show,
            page_request,
            shown,
            trigger_mode="always_last",
            show_progress_on=[controls.decision, controls.heat_map],
            **READING,
        ).failure(
            answers.failed,
            [controls.threshold, controls.model],
            shown,
            api_visibility="private",
            queue=False,
            preprocess=False,
            show_progress="hidden",
        )
    for path, example in controls.examples.items():
        # An example is one tile, whatever scale was typed for another image.
        example.click(
            lambda path=str(path): {controls.image: path, **dict.fromkeys(controls.scale)},
            outputs=[controls.image, *controls.scale],
            api_visibility="private",
            queue=False,
            show_progress="hidden",
        )


def _connect_threshold(answers: TaskAnswers) -> None:
    controls = answers.controls
    follow = f"(at) => vigil.follow({json.dumps(answers.task.name)}, at)"
    controls.threshold.change(None, controls.threshold, js=follow, api_visibility="private")
    controls.threshold.change(
        answers.decide_again,
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
            controls.curves,
            controls.robustness,
            controls.comparison,
        ],
        **QUICK,
    )
    controls.prevalence.change(
        answers.models.cost_section,
        [controls.threshold, controls.prevalence, controls.model],
        controls.costs,
        **QUICK,
    ).then(None, controls.threshold, js=follow, api_visibility="private")  # the thumb may have moved meanwhile


def _connect_questions(answers: TaskAnswers, page_request: list[Any]) -> None:
    """The buttons that ask for more about the picture that was read."""
    controls = answers.controls
    for button, ask, shown in (
        (controls.ask_robustness, answers.check_robustness, [controls.robustness, controls.robustness_result]),
        (controls.ask_models, answers.compare_models, [controls.comparison, controls.model_answers]),
    ):
        button.click(ask, page_request, shown, show_progress_on=shown[:1], **READING)
    for kind, (button, made) in controls.reports.items():
        button.click(answers.report_maker(kind), page_request, made, show_progress_on=[button], **READING).success(
            None, made, js="(file) => vigil.save(file)", api_visibility="private"
        )
