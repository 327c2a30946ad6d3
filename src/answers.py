"""One call, answered: arguments that anyone may have sent -> the `result` of the API and the drawn heat map.

What page and API share. Knows the Predictor and what a threshold costs; knows nothing of Gradio, HTTP or HTML.
Nothing of a picture but its numbers is kept.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from PIL import Image

from src import meaning, overlay, report
from src.measured import MALIGNANT, TARGETS, Place
from src.predictor import EXPLANATIONS, Explanation
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
from src.tasks import DISCLAIMER
from src.weights import Checkpoint
from src.work import Models

NOT_A_THRESHOLD = "The threshold must be a number from 0 to 1."
NOT_A_PREVALENCE = f"Of {PEOPLE:,}, more than none and fewer than all must have it."
NOT_AN_EXPLANATION = f"The explanation must be one of {', '.join(EXPLANATIONS)}."

Result = dict[str, Any]
"""The API's `result` (DESIGN.md): JSON-able, every number finite."""

Answer = tuple[Result, Image.Image | None]

REPORTS: Final[Mapping[str, Callable[..., bytes]]] = {"pdf": report.pdf, "json": report.as_json}


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


def answer(models: Models, name: str, file: str, threshold: object, explain: object) -> Answer:
    """Read one picture file with the model `name`: the result, and the heat map drawn over the picture (None where none
    was asked for).

    Raises ArgumentRefused and ImageRefused, both with one sentence for the person.
    """
    at, explanation = threshold_of(threshold), explanation_of(explain)
    predictor = models[name]
    picture = predictor.read(file)
    prediction = predictor.predict(picture, explanation)
    heat = prediction.heat_map
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
    }
    return result, overlay.draw(picture.image, heat, prediction.box) if heat else None


def taken_away(
    models: Models, name: str, file: str, threshold: object, explain: object, kind: str, at: datetime
) -> bytes:
    """The report of one picture file as `kind`, a key of REPORTS, made `at` this time; raises as `answer` does.

    Read anew, because what a browser sends as a result could be another picture's, or made up.
    """
    result, drawn = answer(models, name, file, threshold, explain)
    return REPORTS[kind](result, models[name].read(file).image, drawn, at)


def decided_again(checkpoint: Checkpoint, result: Mapping[str, Any], threshold: object) -> Result:
    """`result` at another threshold, without another look at the picture.

    `result` comes back from a visitor's browser. Raises ArgumentRefused where it or the threshold cannot be used.
    """
    at = threshold_of(threshold)
    p = result.get("p_malignant") if isinstance(result, Mapping) else None
    if not isinstance(p, int | float):
        raise ArgumentRefused("There is no result to decide on; read the picture again.")
    return {
        **result,
        "threshold": at,
        "decision": decide(p, at),
        "operating_point": operating_point_at(checkpoint, at),
        "screening": screening_at(checkpoint, at),
    }


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
