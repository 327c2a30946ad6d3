"""Results like those of a model, without a model."""

from typing import Any

from src.results.class_texts import confidence, meanings
from src.results.result import Result
from src.results.thresholds import decide
from src.tasks import DISCLAIMER, TASKS

ESTIMATE = {"value": 1.0, "interval": [0.5, 2.0]}


def operating_point(**changes: Any) -> dict[str, Any]:
    """The operating point on a test split without a benign image."""
    return {
        "sensitivity": 0.912,
        "sensitivity_interval": [0.853, 0.956],
        "specificity": None,
        "specificity_interval": [0.0, 1.0],
        "positives": 1234,
        "negatives": 0,
        "split": "test",
        "interval_method": "Clopper-Pearson",
        **changes,
    }


def place(seen: str = "home", **changes: Any) -> dict[str, Any]:
    """The operating point on the set called "Set SEEN"."""
    per_1000 = {"ill": 10, **dict.fromkeys(("found", "missed", "false_alarms", "ppv", "npv"), ESTIMATE)}
    return {
        "set": f"Set {seen}",
        "seen": seen,
        **operating_point(),
        "alone": {},
        "per_1000": per_1000,
        **changes,
    }


def gate(**changes: Any) -> dict[str, Any]:
    """The verdict on a rejected image."""
    sentence = "This looks like histology."
    return {
        "accepted": False,
        "sentence": sentence,
        "looks_like": "histopathology",
        "score": 9.0,
        "limit": 4.0,
    } | changes


def as_dict(task: str = "skin", **changes: Any) -> dict[str, Any]:
    """The JSON of a result for `task`, whose classes have falling probabilities in the order of the task."""
    classes = TASKS[task].classes
    share = 1 / sum(range(1, len(classes) + 1))
    shares = [(len(classes) - i) * share for i in range(len(classes))]
    p_malignant = sum(p for p, one in zip(shares, classes, strict=True) if one.malignant)
    threshold = changes.get("threshold", 0.3)
    return {
        "task": task,
        "model": "EfficientNetV2-B0",
        "revision": "13a71a65b94b",
        "p_malignant": p_malignant,
        "threshold": threshold,
        "decision": decide(changes.get("p_malignant", p_malignant), threshold),
        "classes": [
            {"code": one.code, "name": one.name, "probability": p, "malignant": one.malignant}
            for p, one in zip(shares, classes, strict=True)
        ],
        "quality": [],
        "operating_point": operating_point(),
        "disclaimer": DISCLAIMER,
        "explanation": "Grad-CAM",
        "explained_class": classes[0].code,
        "heatmap_empty": False,
        "size": [600, 450],
        "region": [0, 0, 600, 450],
        "region_kind": "picture",
        "screening": {"places": [place()], "promises": []},
        "confidence": confidence(max(shares)),
        "meaning": {code: text.model_dump(mode="json") for code, text in meanings(TASKS[task]).items()},
        "gate": None,
        "parts": None,
        "cine": None,
        "spacing": None,
        "members": [],
        **changes,
    }


def result(task: str = "skin", **changes: Any) -> Result:
    """`as_dict` as a Result."""
    return Result.model_validate(as_dict(task, **changes))
