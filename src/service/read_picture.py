"""One call, answered: arguments that anyone may have sent -> the `result` of the API and the drawn heat map.

What page and API share. Knows the Predictor and what a threshold costs; knows nothing of Gradio, HTTP or HTML.
Nothing of a picture but its numbers is kept.
"""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from statistics import median
from typing import Final

from PIL import Image

from src.exports import heat_map, pdf
from src.models.perturbations import predict_perturbed
from src.models.prediction import HeatMap, Prediction
from src.pictures import decode
from src.pictures.picture import Box, Picture
from src.results import decisions
from src.results.decisions import decided
from src.results.gate_sentences import gate_result, rejected
from src.results.result import GateResult, ModelAnswer, Result, Robustness
from src.service.arguments import code_of, explanation_of, model_of, models_of, threshold_of
from src.service.other_tasks import accepting_task
from src.service.worker_pool import Models
from src.tasks import TASKS

Answer = tuple[Result, bytes | None]
"""And the heat map drawn over the picture, as PNG; None where none was asked for."""

Report = Callable[[Result, Image.Image, Image.Image | None, datetime], bytes]

REPORTS: Final[Mapping[str, Report]] = {"pdf": pdf.pdf, "json": pdf.as_json}


def answer(
    models: Models, task: str, file: str, threshold: object, explain: object, code: object = "", model: object = ""
) -> Answer:
    """Read one picture file for `task`.

    `code` is the class that the heat map argues for, "" the most probable one; `model` the checkpoint folder's name, ""
    the task's default. Raises ArgumentRefused and ImageRefused, both with one sentence for the person.
    """
    result, picture, heat, box = _read(models, task, file, threshold, explain, code, model)
    return result, heat_map.png(heat_map.draw(picture.image, heat, box, TASKS[task].label_box)) if heat else None


def looked_at(
    models: Models, task: str, file: str, threshold: object, explain: object, code: object = "", model: object = ""
) -> tuple[Result, heat_map.Layers | None]:
    """As `answer`, with the heat map as layers for the page to lay over each other."""
    result, picture, heat, box = _read(models, task, file, threshold, explain, code, model)
    return result, heat_map.layers(picture.image, heat, box, TASKS[task].label_box) if heat else None


def _read(
    models: Models, task: str, file: str, threshold: object, explain: object, code: object, model: object
) -> tuple[Result, Picture, HeatMap | None, Box]:
    at, explanation, argued = threshold_of(threshold), explanation_of(explain), code_of(code, TASKS[task])
    predictor = models[model_of(model, task, models)]
    picture = decode.read(file, predictor.task.background)
    prediction = predictor.predict(picture, explanation, argued)
    result = decided(predictor.checkpoint, prediction, explanation, at, _other_task(models, prediction, picture))
    return result, picture, prediction.heat_map, prediction.box


def _other_task(models: Models, prediction: Prediction, picture: Picture) -> str | None:
    """The name of the task that a rejected image belongs to, if another gate accepts it."""
    return accepting_task(models, picture, prediction.task) if rejected(prediction.gate) else None


def gate(models: Models, task: str, file: str, model: object = "") -> GateResult | None:
    """The result's `gate` alone: whether the picture looks like one of `task`. Raises as `answer` does."""
    predictor = models[model_of(model, task, models)]
    picture = decode.read(file, predictor.task.background)
    prediction = predictor.predict(picture)
    return gate_result(prediction.gate, prediction.task, _other_task(models, prediction, picture))


def compare_models(models: Models, task: str, file: str) -> list[ModelAnswer]:
    """What each model of `task` says of one picture, the default first. Raises as `answer` does."""
    answers = []
    for name in models_of(task, models):
        prediction = models[name].predict(file)
        answers.append(
            ModelAnswer(
                model=name,
                p_malignant=prediction.p_malignant,
                most_probable=prediction.task.classes[prediction.top].name,
                probability=prediction.probabilities[prediction.top],
            )
        )
    return answers


def milliseconds(models: Models, name: str, file: str, times: int = 5) -> float:
    """How long the model `name` takes for one picture, from the file to the probabilities: the median of `times`."""
    models[name].predict(file)  # the first is slower than any other
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        models[name].predict(file)
        taken.append(1000 * (time.perf_counter() - started))
    return median(taken)


def taken_away(
    models: Models,
    task: str,
    file: str,
    threshold: object,
    explain: object,
    kind: str,
    at: datetime,
    code: object = "",
    model: object = "",
) -> bytes:
    """The report of one picture file as `kind`, a key of REPORTS, made `at` this time; raises as `answer` does.

    Read anew, because what a browser sends as a result could be another picture's, or made up.
    """
    result, picture, heat, box = _read(models, task, file, threshold, explain, code, model)
    drawn = heat_map.draw(picture.image, heat, box, TASKS[task].label_box) if heat else None
    return REPORTS[kind](result, picture.image, drawn, at)


def robustness(models: Models, task: str, file: str, threshold: object, model: object = "") -> Robustness:
    """What the model says of small changes of one picture file, and whether its decision at `threshold`, None for the
    model's own, survives them.

    Raises as `answer` does.
    """
    predictor = models[model_of(model, task, models)]
    at = predictor.checkpoint.config.vigil.default_threshold if threshold is None else threshold_of(threshold)
    prediction, perturbed = predict_perturbed(predictor, decode.read(file, predictor.task.background))
    return decisions.robustness(perturbed, prediction.p_malignant, at)
