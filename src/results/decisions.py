"""What was read of a picture, decided at a threshold, and decided again at another without another look at it.

What comes back for that from a visitor's browser is checked; nothing here sees a picture.
"""

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import fields
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from src.models.checkpoints import Checkpoint
from src.results import evaluation
from src.results.evaluation import MALIGNANT, TARGETS, Place
from src.results.thresholds import (
    INTERVAL_METHOD,
    PEOPLE,
    PREVALENCE,
    Estimate,
    OperatingPoint,
    decide,
    operating_point,
    outcome,
)
from src.service.arguments import ArgumentRefused, threshold_of

NO_RESULT = "There is no result to decide on; read the picture again."

Result = dict[str, Any]
"""The API's `result` (DESIGN.md): JSON-able, every number finite."""


def decided_again(checkpoint: Checkpoint, result: Mapping[str, Any], threshold: object) -> Result:
    """`result` at another threshold, without another look at the picture.

    `result` comes back from a visitor's browser. Raises ArgumentRefused where it or the threshold cannot be used.
    """
    at = threshold_of(threshold)
    try:
        p = _Read.model_validate(result).p_malignant
    except ValidationError as error:
        raise ArgumentRefused(NO_RESULT) from error
    return {
        **result,
        "threshold": at,
        "decision": decide(p, at),
        "operating_point": operating_point_at(checkpoint, at),
        "screening": screening_at(checkpoint, at),
    }


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
    home = evaluation.of(checkpoint).home
    return None if home is None else _point(home, operating_point(home.tables[MALIGNANT], threshold))


def screening_at(checkpoint: Checkpoint, threshold: float) -> Result:
    """What this threshold costs wherever the model was measured, and which sensitivities validation promises.

    `places` is empty for a checkpoint that was not evaluated; `per_1000` are expected numbers at the page's default
    prevalence, with intervals. `promises` is empty where validation was not counted by group; its `threshold` is None
    where there are too few positives.
    """
    measured = evaluation.of(checkpoint)
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
