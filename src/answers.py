"""One call, answered: arguments that anyone may have sent -> the `result` of the API and the drawn heat map.

What page and API share. Knows the Predictor and what a threshold costs; knows nothing of Gradio, HTTP or HTML.
Nothing of a picture but its numbers is kept.
"""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from PIL import Image

from src import meaning, overlay
from src.costs import PEOPLE, PREVALENCE
from src.measured import MALIGNANT, TARGETS, Place
from src.predictor import EXPLANATIONS, Explanation, Predictor
from src.screening import INTERVAL_METHOD, Estimate, OperatingPoint, decide, operating_point, outcome
from src.tasks import DISCLAIMER

NOT_A_THRESHOLD = "The threshold must be a number from 0 to 1."
NOT_A_PREVALENCE = f"Of {PEOPLE:,}, more than none and fewer than all must have it."
NOT_AN_EXPLANATION = f"The explanation must be one of {', '.join(EXPLANATIONS)}."

Result = dict[str, Any]
"""The API's `result` (DESIGN.md): JSON-able, every number finite."""


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


def answer(predictor: Predictor, file: str, threshold: object, explain: object) -> tuple[Result, Image.Image | None]:
    """Read one picture file: the result, and the heat map drawn over the picture (None where none was asked for).

    Raises ArgumentRefused and ImageRefused, both with one sentence for the person.
    """
    at, explanation = threshold_of(threshold), explanation_of(explain)
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
        "operating_point": operating_point_at(predictor, at),
        "disclaimer": DISCLAIMER,
        "explanation": explanation,
        "explained_class": heat.code if heat else None,
        # All zero: nothing in the picture argues for the class.
        "heatmap_empty": not heat.values.any() if heat else None,
        "size": list(prediction.size),
        "region": list(prediction.box),
        "region_kind": prediction.region,
        "screening": screening_at(predictor, at),
        # Of the most probable class; and of every class what it means.
        "confidence": meaning.confidence(max(prediction.probabilities)),
        "meaning": meaning.texts(prediction.task.name),
    }
    return result, overlay.draw(picture.image, heat, prediction.box) if heat else None


def decided_again(predictor: Predictor, result: Mapping[str, Any], threshold: object) -> Result:
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
        "operating_point": operating_point_at(predictor, at),
        "screening": screening_at(predictor, at),
    }


def operating_point_at(predictor: Predictor, threshold: float) -> Result | None:
    """What this threshold costs, counted on the test split; None where the checkpoint was not evaluated.

    Sensitivity or specificity is None where the split has no case to count it on.
    """
    home = predictor.checkpoint.measured.home
    return None if home is None else _point(home, operating_point(home.tables[MALIGNANT], threshold))


def screening_at(predictor: Predictor, threshold: float) -> Result:
    """What this threshold costs wherever the model was measured, and which sensitivities validation promises.

    `places` is empty for a checkpoint that was not evaluated; `per_1000` are expected numbers at the page's default
    prevalence, with intervals. `promises` is empty where validation was not counted by group; its `threshold` is None
    where there are too few positives.
    """
    measured = predictor.checkpoint.measured
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
