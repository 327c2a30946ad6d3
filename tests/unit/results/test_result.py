"""The JSON that leaves: names, order and types of a Result's fields, which API clients rely on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from src.models import checkpoints
from src.models.predictor import Predictor
from src.pictures.picture import CineFrames, Picture
from src.results import decisions
from src.results.result import Result
from tests.support import synthetic_checkpoints, synthetic_results

NUMBER, WHOLE, TEXT, FLAG, NOTHING = float, int, str, bool, type(None)
PAIR = [NUMBER, NUMBER]
POINT = {
    "sensitivity": NUMBER,
    "sensitivity_interval": PAIR,
    "specificity": NUMBER,
    "specificity_interval": PAIR,
    "positives": WHOLE,
    "negatives": WHOLE,
    "split": TEXT,
    "interval_method": TEXT,
}
ESTIMATE = {"value": NUMBER, "interval": PAIR}
PLACE = {
    "set": TEXT,
    "seen": TEXT,
    **POINT,
    "alone": {"mel": {"sensitivity": NUMBER, "sensitivity_interval": PAIR}},
    "per_1000": {
        "ill": WHOLE,
        "found": ESTIMATE,
        "missed": ESTIMATE,
        "false_alarms": ESTIMATE,
        "ppv": ESTIMATE,
        "npv": ESTIMATE,
    },
}
PROMISE = {
    "sensitivity": NUMBER,
    "confidence": NUMBER,
    "threshold": NUMBER,
    "positives": WHOLE,
    "found": WHOLE,
    "positives_needed": WHOLE,
}
MEANING = {
    "plain": TEXT,
    "what": TEXT,
    "next_step": TEXT,
    "sources": [{"title": TEXT, "url": TEXT}],
    "urgency": TEXT,
}
RESULT = {
    "task": TEXT,
    "model": TEXT,
    "revision": TEXT,
    "p_malignant": NUMBER,
    "threshold": NUMBER,
    "decision": TEXT,
    "classes": [{"code": TEXT, "name": TEXT, "probability": NUMBER, "malignant": FLAG}],
    "quality": [TEXT],
    "operating_point": POINT,
    "disclaimer": TEXT,
    "explanation": TEXT,
    "explained_class": TEXT,
    "heatmap_empty": FLAG,
    "size": [WHOLE, WHOLE],
    "region": [WHOLE, WHOLE, WHOLE, WHOLE],
    "region_kind": TEXT,
    "screening": {"places": [PLACE], "promises": [PROMISE]},
    "confidence": TEXT,
    "meaning": dict.fromkeys(("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"), MEANING),
    "gate": NOTHING,
    "parts": NOTHING,
    "cine": {"count": WHOLE, "frame": WHOLE, "median_p_malignant": NUMBER, "read": [WHOLE] * 2, "p_malignant": PAIR},
    "spacing": PAIR,
    "members": PAIR,
}


def shape(value: Any) -> Any:
    """The value's structure: keys in their order, and the type of each leaf; a list of like items is one item."""
    if isinstance(value, dict):
        return [(key, shape(item)) for key, item in value.items()]
    if isinstance(value, list):
        items = [shape(item) for item in value]
        return items[:1] if items and isinstance(value[0], dict | str) else items
    return value if isinstance(value, type) else type(value)


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A dark image, the second frame of a cine, read by a made-up model for skin."""
    folder = synthetic_checkpoints.write(tmp_path_factory.mktemp("skin"), "skin")
    predictor = Predictor(checkpoints.load("skin", folder))
    noise = np.random.default_rng(0).integers(0, 9, (90, 120, 3), dtype=np.uint8)
    cine = CineFrames(2, (0, 1), (0.25, 0.75), 1)
    picture = Picture(Image.fromarray(noise), ("A note.",), spacing=(0.1, 0.1), cine=cine)
    prediction = replace(predictor.predict(picture, "Grad-CAM", "mel"), members=(0.25, 0.75))
    return decisions.decided(predictor.checkpoint, prediction, "Grad-CAM", 0.3, picture=picture)


def test_the_json_has_the_names_the_order_and_the_types_that_clients_know(answered: Result) -> None:
    content = json.loads(json.dumps(answered.model_dump(mode="json"), allow_nan=False))
    for known, found in zip(shape(RESULT), shape(content), strict=True):
        assert found == known


def test_the_gate_has_its_names_in_their_order() -> None:
    result = synthetic_results.result(gate=synthetic_results.gate())
    named = ["accepted", "sentence", "looks_like", "score", "limit", "unlike"]
    assert list(result.model_dump(mode="json")["gate"]) == named


def test_a_browser_sends_back_what_it_got(answered: Result) -> None:
    sent = json.loads(json.dumps(answered.model_dump(mode="json")))
    assert Result.model_validate(sent) == answered
    # JavaScript writes 1.0 as 1.
    assert Result.model_validate(sent | {"p_malignant": 1, "threshold": 0}).p_malignant == 1.0


def test_another_threshold_changes_what_depends_on_it_alone(answered: Result, tmp_path: Path) -> None:
    checkpoint = checkpoints.load("skin", synthetic_checkpoints.write(tmp_path, "skin"))
    at_one = decisions.at_threshold(checkpoint, answered, 1.0).model_dump()
    changed = {key for key, value in answered.model_dump().items() if at_one[key] != value}
    assert {"threshold", "operating_point", "screening"} <= changed <= {
        "threshold", "operating_point", "screening", "decision"
    }  # fmt: skip
    assert decisions.at_threshold(checkpoint, answered, answered.threshold) == answered


def test_a_result_cannot_be_changed(answered: Result) -> None:
    with pytest.raises(ValidationError):
        answered.threshold = 0.9
