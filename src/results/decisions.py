"""Makes a Result from a prediction and a threshold, and decides a Result again at another threshold."""

import math
from collections.abc import Iterable
from dataclasses import fields

from src.models.checkpoint_info import CheckpointInfo
from src.models.evaluation import MALIGNANT, TARGETS, EvaluatedSet
from src.models.prediction import Explanation, Parts, Prediction
from src.pictures.picture import CineFrames, Picture
from src.results import class_texts
from src.results.gate_sentences import all_warnings, gate_result
from src.results.result import (
    CineResult,
    ClassResult,
    ClassSensitivity,
    EstimateResult,
    HeldOutResult,
    OperatingPointResult,
    PartsResult,
    Per1000,
    PerturbedResult,
    PromiseResult,
    Result,
    Robustness,
    Screening,
)
from src.results.thresholds import (
    INTERVAL_METHOD,
    PEOPLE,
    PREVALENCE,
    Estimate,
    OperatingPoint,
    decide,
    operating_point,
    outcome,
    validation_promise,
)
from src.tasks import DISCLAIMER


def decided(
    checkpoint: CheckpointInfo,
    prediction: Prediction,
    explanation: Explanation,
    threshold: float,
    other_task: str | None = None,
    picture: Picture | None = None,
) -> Result:
    """The result of `prediction`, which `checkpoint` made, at `threshold` (0 to 1).

    `other_task` names the task that the image looks like if the gate rejected it and another task's gate did not.
    `picture` is the image that was read: it has the size of a pixel and the frames of a cine.
    """
    heat_map = prediction.heat_map
    return Result(
        task=prediction.task.name,
        model=prediction.model,
        revision=prediction.revision,
        p_malignant=prediction.p_malignant,
        threshold=threshold,
        decision=decide(prediction.p_malignant, threshold),
        classes=tuple(map(ClassResult.model_validate, prediction.classes())),
        quality=all_warnings(prediction, other_task),
        operating_point=operating_point_at(checkpoint, threshold),
        disclaimer=DISCLAIMER,
        explanation=explanation,
        explained_class=heat_map.code if heat_map else None,
        heatmap_empty=not heat_map.values.any() if heat_map else None,
        size=prediction.size,
        region=prediction.box,
        region_kind=prediction.region,
        screening=screening_at(checkpoint, threshold),
        confidence=class_texts.confidence(max(prediction.probabilities)),
        meaning=class_texts.meanings(prediction.task),
        gate=gate_result(prediction.gate, prediction.task, other_task),
        parts=_parts(prediction.parts),
        cine=_cine(picture.cine) if picture is not None else None,
        spacing=picture.spacing if picture is not None else None,
        members=prediction.members,
    )


def _cine(frames: CineFrames | None) -> CineResult | None:
    if frames is None:
        return None
    return CineResult(
        count=frames.count,
        frame=frames.chosen,
        median_p_malignant=frames.median,
        read=frames.read,
        p_malignant=frames.p_malignant,
    )


def _parts(parts: Parts | None) -> PartsResult | None:
    if parts is None:
        return None
    return PartsResult(
        kind=parts.kind,
        count=len(parts.p_malignant),
        counted=sum(parts.counted),
        mean_p_malignant=parts.mean,
        mpp=parts.mpp,
    )


def at_threshold(checkpoint: CheckpointInfo, result: Result, threshold: float) -> Result:
    """`result` decided at another threshold (0 to 1)."""
    return result.model_copy(
        update={
            "threshold": threshold,
            "decision": decide(result.p_malignant, threshold),
            "operating_point": operating_point_at(checkpoint, threshold),
            "screening": screening_at(checkpoint, threshold),
        }
    )


def robustness(perturbed: Iterable[tuple[str, float]], p_malignant: float, threshold: float) -> Robustness:
    """The predictions for small changes of an image (the name and p(malignant) of each), decided at `threshold`.

    `p_malignant` is that of the unchanged image.
    """
    perturbed, unchanged = list(perturbed), decide(p_malignant, threshold)
    scores = [p_malignant, *(p for _, p in perturbed)]
    flipped = sum(decide(p, threshold) != unchanged for _, p in perturbed)
    return Robustness(
        views=tuple(PerturbedResult(name=name, p_malignant=p, decision=decide(p, threshold)) for name, p in perturbed),
        p_malignant=p_malignant,
        lowest=min(scores),
        highest=max(scores),
        flipped=flipped,
        borderline=flipped > 0,
    )


def robustness_at_threshold(found: Robustness, threshold: float) -> Robustness:
    """`found` decided at another threshold (0 to 1)."""
    return robustness([(view.name, view.p_malignant) for view in found.views], found.p_malignant, threshold)


def operating_point_at(checkpoint: CheckpointInfo, threshold: float) -> OperatingPointResult | None:
    """What this threshold costs on the test split; None if the checkpoint was not evaluated."""
    home = checkpoint.evaluation.home
    if home is None:
        return None
    return _operating_point(home, operating_point(home.tables[MALIGNANT], threshold))


def screening_at(checkpoint: CheckpointInfo, threshold: float) -> Screening:
    """The model's operating point at this threshold on every held-out set, and the sensitivities validation promises.

    `places` is empty for a checkpoint that was not evaluated; `per_1000` has expected numbers at the page's default
    prevalence. `promises` is empty if validation was not counted by group.
    """
    promises = (validation_promise(checkpoint.evaluation, target) for target in TARGETS)
    return Screening(
        places=tuple(_held_out(one, threshold) for one in checkpoint.evaluation.held_out),
        promises=tuple(
            PromiseResult(
                sensitivity=promise.target,
                confidence=promise.confidence,
                threshold=promise.threshold,
                positives=promise.positives,
                found=promise.found,
                positives_needed=promise.needed,
            )
            for promise in promises
            if promise is not None
        ),
    )


def _held_out(one: EvaluatedSet, threshold: float) -> HeldOutResult:
    assert one.kind != "validation"
    point = operating_point(one.tables[MALIGNANT], threshold)
    expected = outcome(point, PREVALENCE / PEOPLE, PEOPLE)
    alone = {code: operating_point(table, threshold) for code, table in one.tables.items() if code != MALIGNANT}
    return HeldOutResult(
        set=one.title,
        seen=one.kind,
        **dict(_operating_point(one, point)),
        alone={
            code: ClassSensitivity(sensitivity=own.sensitivity, sensitivity_interval=own.sensitivity_interval)
            for code, own in alone.items()
            if own.tp + own.fn
        },
        per_1000=Per1000(
            ill=PREVALENCE, **{field.name: _estimate(getattr(expected, field.name)) for field in fields(expected)}
        ),
    )


def _operating_point(one: EvaluatedSet, point: OperatingPoint) -> OperatingPointResult:
    return OperatingPointResult(
        sensitivity=point.sensitivity if one.positives else None,
        sensitivity_interval=point.sensitivity_interval,
        specificity=point.specificity if one.negatives else None,
        specificity_interval=point.specificity_interval,
        positives=one.positives,
        negatives=one.negatives,
        split=one.name,
        interval_method=INTERVAL_METHOD,
    )


def _estimate(estimate: Estimate) -> EstimateResult:
    value = None if math.isnan(estimate.value) else estimate.value
    return EstimateResult(value=value, interval=(estimate.low, estimate.high))
