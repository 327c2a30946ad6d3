"""What a visitor asks of one picture -> the answer: the API's `result`, the heat map, a report, a comparison.

Page and API share these functions. Each decodes the file once and runs each network that it needs once: the gate's
verdict comes with the prediction. They take arguments that anyone may have sent, and raise ArgumentRefused,
ImageRefused and AnswerWithheld, each with one sentence for the person. They know the Predictor and what a threshold
costs, and know nothing of Gradio, HTTP or HTML. They keep nothing of a picture.
"""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from statistics import median
from typing import Final

from PIL import Image

from src.exports import heat_map, pdf
from src.models.perturbations import predict_perturbed
from src.models.prediction import Prediction
from src.pictures import decode
from src.pictures.picture import Picture
from src.results import decisions
from src.results.decisions import decided
from src.results.gate_sentences import rejected
from src.results.result import ModelAnswer, Result, Robustness
from src.service.arguments import code_of, explanation_of, model_of, models_of, mpp_of, threshold_of
from src.service.other_tasks import accepting_task
from src.service.worker_pool import Models
from src.tasks import TASKS

Answer = tuple[Result, bytes | None]
"""The result, and the heat map drawn over the picture as PNG; None where none was asked for."""

Report = Callable[[Result, Image.Image, Image.Image | None, datetime], bytes]

REPORTS: Final[Mapping[str, Report]] = {"pdf": pdf.pdf, "json": pdf.as_json}

NOT_SHOWN: Final = "There is no answer yet; choose to have it shown first."


class AnswerWithheld(ValueError):  # noqa: N818 - a refusal, as ImageRefused
    """The gate rejects the picture, and the visitor has not asked for the answer in spite of that."""

    def __init__(self) -> None:
        super().__init__(NOT_SHOWN)


def answer(
    models: Models,
    task: str,
    file: str,
    threshold: object,
    explain: object,
    code: object = "",
    model: object = "",
    mpp: object = None,
) -> Answer:
    """Read one picture file for `task`.

    `code`: the class that the heat map argues for, "" for the most probable one. `model`: the name of a checkpoint
    folder, "" for the task's default. `mpp`: micrometres per pixel, None where the file is to say it.
    """
    result, picture, prediction = _read(models, task, file, threshold, explain, code, model, mpp)
    drawn = _drawn(picture, prediction)
    return result, None if drawn is None else heat_map.png(drawn)


def answer_in_layers(
    models: Models,
    task: str,
    file: str,
    threshold: object,
    explain: object,
    code: object = "",
    model: object = "",
    mpp: object = None,
) -> tuple[Result, heat_map.Layers | None]:
    """As `answer`, with the heat map as layers, which the page lays over each other."""
    result, picture, prediction = _read(models, task, file, threshold, explain, code, model, mpp)
    heat = prediction.heat_map
    return result, heat_map.layers(picture.image, heat, prediction.box, prediction.label_box) if heat else None


def report(
    models: Models,
    task: str,
    file: str,
    threshold: object,
    explain: object,
    kind: str,
    at: datetime,
    code: object = "",
    model: object = "",
    despite_gate: bool = False,
    mpp: object = None,
) -> bytes:
    """The report on one picture file as `kind`, a key of REPORTS, with the date `at`. Arguments else as for `answer`.

    It reads the picture instead of taking a result from a browser, which could be of another picture or made up.
    Raises AnswerWithheld where the gate rejects the picture, unless `despite_gate`.
    """
    result, picture, prediction = _read(models, task, file, threshold, explain, code, model, mpp, despite_gate)
    return REPORTS[kind](result, picture.image, _drawn(picture, prediction), at)


def robustness(
    models: Models,
    task: str,
    file: str,
    threshold: object,
    model: object = "",
    despite_gate: bool = True,
    mpp: object = None,
) -> Robustness:
    """The predictions for small changes of one picture file, decided at `threshold`, None for the model's own.

    Raises AnswerWithheld where the gate rejects the picture, unless `despite_gate`.
    """
    predictor = models[model_of(model, task, models)]
    at = predictor.checkpoint.config.vigil.default_threshold if threshold is None else threshold_of(threshold)
    scale = mpp_of(mpp, TASKS[task])
    prediction, perturbed = predict_perturbed(predictor, decode.read(file, TASKS[task].background).at(scale))
    _check_gate(prediction, despite_gate)
    return decisions.robustness(perturbed, prediction.p_malignant, at)


def compare_models(
    models: Models, task: str, file: str, model: object = "", despite_gate: bool = False, mpp: object = None
) -> list[ModelAnswer]:
    """The answer of each model of `task` to one picture, the default first.

    Raises AnswerWithheld where the gate of `model`, "" for the default, rejects the picture, unless `despite_gate`.
    """
    chosen, scale = model_of(model, task, models), mpp_of(mpp, TASKS[task])
    picture = decode.read(file, TASKS[task].background).at(scale)
    predictions = {name: models[name].predict(picture) for name in models_of(task, models)}
    _check_gate(predictions[chosen], despite_gate)
    return [
        ModelAnswer(
            model=name,
            p_malignant=prediction.p_malignant,
            most_probable=prediction.task.classes[prediction.top].name,
            probability=prediction.probabilities[prediction.top],
        )
        for name, prediction in predictions.items()
    ]


def milliseconds(models: Models, name: str, file: str, times: int = 5) -> float:
    """How long the model `name` takes for one picture, from the file to the probabilities: the median of `times`."""
    models[name].predict(file)  # the first is slower than any other
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        models[name].predict(file)
        taken.append(1000 * (time.perf_counter() - started))
    return median(taken)


def _read(
    models: Models,
    task: str,
    file: str,
    threshold: object,
    explain: object,
    code: object,
    model: object,
    mpp: object,
    despite_gate: bool = True,
) -> tuple[Result, Picture, Prediction]:
    at, explanation, argued = threshold_of(threshold), explanation_of(explain), code_of(code, TASKS[task])
    predictor = models[model_of(model, task, models)]
    scale = mpp_of(mpp, TASKS[task])
    picture = decode.read(file, TASKS[task].background).at(scale)
    prediction = predictor.predict(picture, explanation, argued)
    _check_gate(prediction, despite_gate)
    # Only another task's network can tell that a rejected picture is of its kind.
    other = accepting_task(models, picture, prediction.task) if rejected(prediction.gate) else None
    result = decided(predictor.checkpoint, prediction, explanation, at, other)
    return result, picture, prediction


def _drawn(picture: Picture, prediction: Prediction) -> Image.Image | None:
    """The heat map drawn over the picture; None where none was asked for."""
    if prediction.heat_map is None:
        return None
    return heat_map.draw(picture.image, prediction.heat_map, prediction.box, prediction.label_box)


def _check_gate(prediction: Prediction, despite_gate: bool) -> None:
    if rejected(prediction.gate) and not despite_gate:
        raise AnswerWithheld
