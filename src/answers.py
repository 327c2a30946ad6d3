"""One call, answered: arguments that anyone may have sent -> the `result` of the API and the drawn heat map.

What page and API share. Knows the Predictor and what a threshold costs; knows nothing of Gradio, HTTP or HTML.
Nothing of a picture but its numbers is kept.
"""

import math
import time
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from statistics import median
from typing import Annotated, Any, Final

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from src import meaning, overlay, report
from src.gate import looks_like, told
from src.images import Picture
from src.measured import MALIGNANT, TARGETS, Place
from src.predictor import EXPLANATIONS, Explanation, HeatMap, Prediction
from src.region import Box
from src.robustness import read_views
from src.screening import (
    INTERVAL_METHOD,
    PEOPLE,
    PREVALENCE,
    Estimate,
    OperatingPoint,
    decide,
    operating_point,
    outcome,
)
from src.tasks import DISCLAIMER, TASKS, Task
from src.weights import Checkpoint
from src.work import Models

NOT_A_THRESHOLD = "The threshold must be a number from 0 to 1."
NOT_A_PREVALENCE = f"Of {PEOPLE:,}, more than none and fewer than all must have it."
NOT_AN_EXPLANATION = f"The explanation must be one of {', '.join(EXPLANATIONS)}."
NO_RESULT = "There is no result to decide on; read the picture again."

Result = dict[str, Any]
"""The API's `result` (DESIGN.md): JSON-able, every number finite."""

Answer = tuple[Result, bytes | None]
"""And the heat map drawn over the picture, as PNG; None where none was asked for."""

Report = Callable[[Result, Image.Image, Image.Image | None, datetime], bytes]

REPORTS: Final[Mapping[str, Report]] = {"pdf": report.pdf, "json": report.as_json}


class ArgumentRefused(ValueError):  # noqa: N818 - a refusal, as ImageRefused
    """An argument that cannot be used; the message is one sentence for the person and repeats nothing they sent."""


def threshold_of(value: object) -> float:
    """A number in 0..1, as a float. Raises ArgumentRefused for anything else, NaN, True and "0.3" among it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ArgumentRefused(NOT_A_THRESHOLD)
    return float(value)


def prevalence_of(value: object) -> float:
    """How many of PEOPLE are ill: more than none and fewer than all. Raises ArgumentRefused for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < PEOPLE:
        raise ArgumentRefused(NOT_A_PREVALENCE)
    return float(value)


def explanation_of(value: object) -> Explanation:
    """One of EXPLANATIONS. Raises ArgumentRefused for anything else."""
    for explanation in EXPLANATIONS:
        if isinstance(value, str) and value == explanation:
            return explanation
    raise ArgumentRefused(NOT_AN_EXPLANATION)


def code_of(value: object, task: Task) -> str | None:
    """A class code of `task`, None for "": the most probable class. Raises ArgumentRefused for anything else."""
    if isinstance(value, str) and value in ("", *task.codes):
        return value or None
    raise ArgumentRefused(f"The class to explain must be one of {', '.join(task.codes)}, or empty.")


def model_of(value: object, task: str, names: Iterable[str]) -> str:
    """The model of `task` that `value` names, "" the task's default; `names` are checkpoint folders'.

    Raises ArgumentRefused for anything else.
    """
    offered = models_of(task, names)
    if value == "":
        return offered[0]
    if isinstance(value, str) and value in offered:
        return value
    raise ArgumentRefused(f"The model must be one of {', '.join(offered)}, or empty.")


def models_of(task: str, names: Iterable[str]) -> list[str]:
    """Those of checkpoint folders' `names` that are models of `task`, its default first."""
    return [name for name in names if name == task] + [name for name in names if name.startswith(f"{task}-")]


def answer(
    models: Models, task: str, file: str, threshold: object, explain: object, code: object = "", model: object = ""
) -> Answer:
    """Read one picture file for `task`.

    `code` is the class that the heat map argues for, "" the most probable one; `model` the checkpoint folder's name, ""
    the task's default. Raises ArgumentRefused and ImageRefused, both with one sentence for the person.
    """
    result, picture, heat, box = _read(models, task, file, threshold, explain, code, model)
    return result, overlay.png(overlay.draw(picture.image, heat, box, TASKS[task].label_box)) if heat else None


def looked_at(
    models: Models, task: str, file: str, threshold: object, explain: object, code: object = "", model: object = ""
) -> tuple[Result, overlay.Layers | None]:
    """As `answer`, with the heat map as layers for the page to lay over each other."""
    result, picture, heat, box = _read(models, task, file, threshold, explain, code, model)
    return result, overlay.layers(picture.image, heat, box, TASKS[task].label_box) if heat else None


def _read(
    models: Models, task: str, file: str, threshold: object, explain: object, code: object, model: object
) -> tuple[Result, Picture, HeatMap | None, Box]:
    at, explanation, argued = threshold_of(threshold), explanation_of(explain), code_of(code, TASKS[task])
    predictor = models[model_of(model, task, models)]
    picture = predictor.read(file)
    prediction = predictor.predict(picture, explanation, argued)
    heat = prediction.heat_map
    known = _gate(models, prediction, picture)
    result: Result = {
        "task": prediction.task.name,
        "model": prediction.model,
        "revision": prediction.revision,
        "p_malignant": prediction.p_malignant,
        "threshold": at,
        "decision": decide(prediction.p_malignant, at),
        "classes": prediction.classes(),
        "quality": list(prediction.warnings),
        "operating_point": operating_point_at(predictor.checkpoint, at),
        "disclaimer": DISCLAIMER,
        "explanation": explanation,
        "explained_class": heat.code if heat else None,
        # All zero: nothing in the picture argues for the class.
        "heatmap_empty": not heat.values.any() if heat else None,
        "size": list(prediction.size),
        "region": list(prediction.box),
        "region_kind": prediction.region,
        "screening": screening_at(predictor.checkpoint, at),
        # Of the most probable class; and of every class what it means.
        "confidence": meaning.confidence(max(prediction.probabilities)),
        "meaning": meaning.texts(prediction.task.name),
        "gate": known,
    }
    if known is not None and not known["accepted"]:
        result["quality"][0] = known["sentence"]  # the same, and which tab reads such pictures
    return result, picture, heat, prediction.box


def _gate(models: Models, prediction: Prediction, picture: Picture) -> Result | None:
    """What the gate says, None of a checkpoint that has none. Asks the other tasks' where this one does not accept."""
    verdict, task = prediction.gate, prediction.task
    other = None if verdict is None or verdict.accepted else looks_like(models, picture, task)
    return told(verdict, task, other)


def gate(models: Models, task: str, file: str, model: object = "") -> Result | None:
    """The result's `gate` alone: whether the picture looks like one of `task`. Raises as `answer` does."""
    predictor = models[model_of(model, task, models)]
    picture = predictor.read(file)
    return _gate(models, predictor.predict(picture), picture)


def compared(models: Models, task: str, file: str) -> list[Result]:
    """What each model of `task` says of one picture: its folder's name, p_malignant, the most probable class's name and
    probability. Raises as `answer` does.
    """
    said = []
    for name in models_of(task, models):
        prediction = models[name].predict(file)
        first = prediction.classes()[0]
        said.append(
            {
                "model": name,
                "p_malignant": prediction.p_malignant,
                "most_probable": first["name"],
                "probability": first["probability"],
            }
        )
    return said


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
    drawn = overlay.draw(picture.image, heat, box, TASKS[task].label_box) if heat else None
    return REPORTS[kind](result, picture.image, drawn, at)


def decided_again(checkpoint: Checkpoint, result: Mapping[str, Any], threshold: object) -> Result:
    """`result` at another threshold, without another look at the picture.

    `result` comes back from a visitor's browser. Raises ArgumentRefused where it or the threshold cannot be used.
    """
    at = threshold_of(threshold)
    p = result.get("p_malignant") if isinstance(result, Mapping) else None
    if not isinstance(p, int | float):
        raise ArgumentRefused(NO_RESULT)
    return {
        **result,
        "threshold": at,
        "decision": decide(p, at),
        "operating_point": operating_point_at(checkpoint, at),
        "screening": screening_at(checkpoint, at),
    }


class _Read(BaseModel):
    """Of what a browser sends back: one of the pictures' p(malignant), and whose it is."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, strict=True)

    p_malignant: Annotated[float, Field(ge=0, le=1)]


class _View(_Read):
    name: Annotated[str, Field(max_length=100)]


class _Said(_Read):
    model: str
    most_probable: Annotated[str, Field(max_length=100)]
    probability: Annotated[float, Field(ge=0, le=1)]


class _Around(_Read):
    views: Annotated[list[_View], Field(min_length=1, max_length=100)]


def around(views: Iterable[tuple[str, float]], p_malignant: float, threshold: float) -> Result:
    """What the API says of a picture's `views` (name and p(malignant) of each), decided at `threshold`.

    `flipped` counts those that are decided otherwise than the picture as it is, whose `p_malignant` this is.
    """
    views, own = list(views), decide(p_malignant, threshold)
    every = [p_malignant, *(p for _, p in views)]
    flipped = sum(decide(p, threshold) != own for _, p in views)
    return {
        "views": [{"name": name, "p_malignant": p, "decision": decide(p, threshold)} for name, p in views],
        "p_malignant": p_malignant,
        "lowest": min(every),
        "highest": max(every),
        "flipped": flipped,
        "borderline": flipped > 0,
    }


def robustness(models: Models, task: str, file: str, threshold: object, model: object = "") -> Result:
    """What the model says of small changes of one picture file, and whether its decision at `threshold`, None for the
    model's own, survives them.

    Raises as `answer` does.
    """
    predictor = models[model_of(model, task, models)]
    at = predictor.checkpoint.config.vigil.default_threshold if threshold is None else threshold_of(threshold)
    p_malignant, views = read_views(predictor, predictor.read(file))
    return around(views, p_malignant, at)


def robustness_again(found: object, threshold: object) -> Result:
    """`robustness` at another threshold, without another look at the picture.

    `found` comes back from a visitor's browser. Raises ArgumentRefused where it or the threshold cannot be used.
    """
    at = threshold_of(threshold)
    try:
        known = _Around.model_validate(found)
    except ValidationError as error:
        raise ArgumentRefused(NO_RESULT) from error
    return around([(view.name, view.p_malignant) for view in known.views], known.p_malignant, at)


def compared_again(said: object, names: Container[str]) -> list[Result]:
    """What `compared` said of the models `names`, back from a visitor's browser. Raises ArgumentRefused where it cannot
    be used."""
    try:
        known = TypeAdapter(list[_Said]).validate_python(said)
    except ValidationError as error:
        raise ArgumentRefused(NO_RESULT) from error
    if not known or any(one.model not in names for one in known):
        raise ArgumentRefused(NO_RESULT)
    return [one.model_dump() for one in known]


def operating_point_at(checkpoint: Checkpoint, threshold: float) -> Result | None:
    """What this threshold costs, counted on the test split; None where the checkpoint was not evaluated.

    Sensitivity or specificity is None where the split has no case to count it on.
    """
    home = checkpoint.measured.home
    return None if home is None else _point(home, operating_point(home.tables[MALIGNANT], threshold))


def screening_at(checkpoint: Checkpoint, threshold: float) -> Result:
    """What this threshold costs wherever the model was measured, and which sensitivities validation promises.

    `places` is empty for a checkpoint that was not evaluated; `per_1000` are expected numbers at the page's default
    prevalence, with intervals. `promises` is empty where validation was not counted by group; its `threshold` is None
    where there are too few positives.
    """
    measured = checkpoint.measured
    places = []
    for place in measured.places:
        point = operating_point(place.tables[MALIGNANT], threshold)
        carried = outcome(point, PREVALENCE / PEOPLE, PEOPLE)
        alone = {who: operating_point(table, threshold) for who, table in place.tables.items() if who != MALIGNANT}
        places.append(
            {
                "set": place.title,
                "seen": place.kind,
                **_point(place, point),
                "alone": {
                    code: {"sensitivity": own.sensitivity, "sensitivity_interval": list(own.sensitivity_interval)}
                    for code, own in alone.items()
                    if own.tp + own.fn
                },
                f"per_{PEOPLE}": {
                    "ill": PREVALENCE,
                    **{field.name: _estimate(getattr(carried, field.name)) for field in fields(carried)},
                },
            }
        )
    promises = (measured.promise(target) for target in TARGETS)
    return {
        "places": places,
        "promises": [
            {
                "sensitivity": promise.target,
                "confidence": promise.confidence,
                "threshold": promise.threshold,
                "positives": promise.positives,
                "found": promise.found,
                "positives_needed": promise.needed,
            }
            for promise in promises
            if promise is not None
        ],
    }


def _point(place: Place, point: OperatingPoint) -> Result:
    return {
        "sensitivity": point.sensitivity if place.positives else None,
        "sensitivity_interval": list(point.sensitivity_interval),
        "specificity": point.specificity if place.negatives else None,
        "specificity_interval": list(point.specificity_interval),
        "positives": place.positives,
        "negatives": place.negatives,
        "split": place.name,
        "interval_method": INTERVAL_METHOD,
    }


def _estimate(estimate: Estimate) -> Result:
    return {
        "value": None if math.isnan(estimate.value) else estimate.value,
        "interval": [estimate.low, estimate.high],
    }
