"""Answers a visitor's call about one image: the result, the heat map, a report, the robustness or a comparison.

Page and API share these functions. Each function decodes the file once and runs each network once; the gate's verdict
comes with the prediction. The arguments may come from anyone. The functions raise ArgumentRefused, ImageRefused and
AnswerWithheld, each with one sentence for the visitor. They know the Predictor and the results, and nothing of Gradio,
HTTP or HTML. They keep nothing of an image.
"""

import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from PIL import Image

from src.exports import heat_map, json_report, pdf
from src.models.perturbations import predict_perturbed
from src.models.prediction import Prediction
from src.pictures.dicom import is_dicom
from src.pictures.picture import ImageRefused, Picture
from src.results import decisions
from src.results.decisions import decided
from src.results.gate_sentences import rejected
from src.results.result import ModelAnswer, Result, Robustness
from src.service.arguments import code_of, explanation_of, frame_of, model_of, models_of, mpp_of, threshold_of
from src.service.model_loading import Models
from src.service.other_tasks import accepting_task
from src.tasks import TASKS

Answer = tuple[Result, bytes | None]
"""The result, and a PNG of the image with the heat map over it; None if no heat map was requested."""

Report = Callable[[Result, Image.Image, Image.Image | None, datetime], bytes]

REPORTS: Final[Mapping[str, Report]] = {"pdf": pdf.pdf, "json": json_report.json_report}
DICOM: Final = "dicom"
"""The kind of a report for the study of a DICOM file."""
SUFFIXES: Final[Mapping[str, str]] = {**{kind: kind for kind in REPORTS}, DICOM: "zip"}
"""The kinds of reports, and the suffixes of their files."""
DICOM_HEAD: Final = 4096
"""Bytes of a file that show whether it is DICOM."""
NOT_DICOM: Final = "The image is not a DICOM file, so it has no study that a DICOM report could be filed in."
KEEP_IDENTITY: Final = "VIGIL_KEEP_IDENTITY"
"""The setting that is 1 where DICOM reports name the patient."""

NOT_SHOWN: Final = "The answer is not shown yet; choose “Show the answer anyway” first."


class AnswerWithheld(ValueError):  # noqa: N818 - a refusal, as ImageRefused
    """The gate rejects the image, and the visitor has not asked to see the answer in spite of that."""

    def __init__(self, reason: str = NOT_SHOWN) -> None:
        super().__init__(reason)


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
    """The result for one image file, and the image with the heat map over it.

    `code` is the class that the heat map explains; "" means the most probable class. `model` is the name of a
    checkpoint folder; "" means the task's default. `mpp` is the scale in micrometres per pixel; None means the scale
    that the file states.
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
    frame: object = None,
) -> tuple[Result, heat_map.Layers | None]:
    """As `answer`, but with image and heat map as separate layers, which the page lays over each other.

    `frame` is the index of the frame of a cine to report; None means the one with the highest p(malignant).
    """
    result, picture, prediction = _read(models, task, file, threshold, explain, code, model, mpp, frame=frame)
    heat = prediction.heat_map
    return result, heat_map.layers(picture.image, heat, prediction.box, prediction.label_box) if heat else None


def report(
    models: Models,
    task: str,
    file: str,
    threshold: object,
    explain: object,
    kind: str,
    date: datetime,
    code: object = "",
    model: object = "",
    despite_gate: bool = False,
    mpp: object = None,
    frame: object = None,
) -> bytes:
    """The report on one image file. `kind` is a key of SUFFIXES and `date` its date; the rest is as for
    `answer_in_layers`.

    The image is read again, because a result from a browser could belong to another image or be made up. Raises
    AnswerWithheld if the gate rejects the image, unless `despite_gate`, and ImageRefused for a DICOM report on a file
    that is not DICOM.
    """
    if kind == DICOM and not is_dicom_file(file):
        raise ImageRefused(NOT_DICOM)
    result, picture, prediction = _read(models, task, file, threshold, explain, code, model, mpp, despite_gate, frame)
    drawn = _drawn(picture, prediction)
    if kind != DICOM:
        return REPORTS[kind](result, picture.image, drawn, date)
    # Imported here, because it takes more than a second and few visitors have DICOM files.
    from src.exports import dicom_report

    weights = models[model_of(model, task, models)].checkpoint.config.vigil.sha256
    with_identity = os.environ.get(KEEP_IDENTITY, "").strip() == "1"
    return dicom_report.zipped(dicom_report.objects(Path(file).read_bytes(), weights, result, drawn, with_identity))


def is_dicom_file(file: str) -> bool:
    """Whether a file begins as DICOM. False where it cannot be opened."""
    try:
        with Path(file).open("rb") as opened:
            return is_dicom(opened.read(DICOM_HEAD))
    except OSError:
        return False


def robustness(
    models: Models,
    task: str,
    file: str,
    threshold: object,
    model: object = "",
    despite_gate: bool = True,
    mpp: object = None,
    frame: object = None,
) -> Robustness:
    """The predictions for altered versions of one image file, decided at `threshold`; None means the model's own.

    Raises AnswerWithheld if the gate rejects the image, unless `despite_gate`.
    """
    predictor = models[model_of(model, task, models)]
    at = predictor.checkpoint.config.vigil.default_threshold if threshold is None else threshold_of(threshold)
    scale = mpp_of(mpp, TASKS[task])
    prediction, perturbed = predict_perturbed(predictor, predictor.read(file, mpp=scale, frame=frame_of(frame)))
    _check_gate(prediction, despite_gate)
    return decisions.robustness(perturbed, prediction.p_malignant, at)


def compare_models(
    models: Models,
    task: str,
    file: str,
    model: object = "",
    despite_gate: bool = False,
    mpp: object = None,
    frame: object = None,
) -> list[ModelAnswer]:
    """The answer of each model of `task` to one image, the default model first.

    Raises AnswerWithheld if the gate of `model` ("" means the default) rejects the image, unless `despite_gate`.
    """
    chosen, scale = model_of(model, task, models), mpp_of(mpp, TASKS[task])
    picture = models[chosen].read(file, mpp=scale, frame=frame_of(frame))
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
    frame: object = None,
) -> tuple[Result, Picture, Prediction]:
    checked_threshold, explanation = threshold_of(threshold), explanation_of(explain)
    explained_class = code_of(code, TASKS[task])
    predictor = models[model_of(model, task, models)]
    scale = mpp_of(mpp, TASKS[task])
    picture = predictor.read(file, mpp=scale, frame=frame_of(frame))
    prediction = predictor.predict(picture, explanation, explained_class)
    _check_gate(prediction, despite_gate)
    # Only another task's gate can tell that a rejected image is of that task's kind.
    other = accepting_task(models, picture, prediction.task) if rejected(prediction.gate) else None
    result = decided(predictor.checkpoint, prediction, explanation, checked_threshold, other, picture)
    return result, picture, prediction


def _drawn(picture: Picture, prediction: Prediction) -> Image.Image | None:
    """The heat map drawn over the picture; None where none was requested."""
    if prediction.heat_map is None:
        return None
    return heat_map.draw(picture.image, prediction.heat_map, prediction.box, prediction.label_box)


def _check_gate(prediction: Prediction, despite_gate: bool) -> None:
    if rejected(prediction.gate) and not despite_gate:
        raise AnswerWithheld
