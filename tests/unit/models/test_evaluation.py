"""src/models/evaluation.py: complete, incomplete and malformed evaluation.json."""

import logging
from typing import Any

import pytest

from src.models import evaluation
from src.results import thresholds
from tests.support import synthetic_checkpoints


def split(scores: list[float], positive: list[bool], **further: Any) -> dict[str, Any]:
    return {"threshold_table": {"malignant": thresholds.threshold_table(scores, positive)}, **further}


SOME = split([0.1, 0.4, 0.8], [False, True, True], sources=["BUSI"], n=3, groups=2)


def test_home_comes_first_and_away_last() -> None:
    content = {
        "splits": {"validation": SOME, "test-busbra": SOME | {"sources": ["BUS-BRA"]}, "test": SOME},
        "external": {"breast_usg": SOME | {"sources": ["BrEaST"]}},
    }
    read = evaluation.parse(content)
    assert [(place.kind, place.name, place.title) for place in read.held_out] == [
        ("home", "test", "BUSI"),
        ("second", "test-busbra", "BUS-BRA"),
        ("away", "breast_usg", "BrEaST"),
    ]
    assert read.home == read.held_out[0]
    assert (read.home.n, read.home.groups, read.home.positives, read.home.negatives) == (3, 2, 2, 1)


def test_a_promise_needs_validation_counted_by_group() -> None:
    assert thresholds.validation_promise(evaluation.parse({"splits": {"validation": SOME, "test": SOME}}), 0.95) is None
    by_group = thresholds.threshold_table([0.5] * 59, [True] * 59)
    counted = SOME | {"threshold_table_groups": {"malignant": by_group}}
    promise = thresholds.validation_promise(evaluation.parse({"splits": {"validation": counted}}), 0.95)
    assert promise == thresholds.promise(by_group, 0.95)
    assert promise.threshold == 0.5


@pytest.mark.parametrize("content", [None, {}, {"splits": {}}, {"splits": {"test": split([], [])}}])
def test_what_was_not_evaluated_has_no_held_out_set(content: Any, caplog: pytest.LogCaptureFixture) -> None:
    parsed = evaluation.parse(content)
    assert not parsed.held_out
    assert parsed.home is None
    assert parsed.problem == (evaluation.MISSING if content is None else None)
    assert not caplog.records


def test_what_became_of_a_promise_where_nothing_was_learned() -> None:
    point = {"sensitivity": {"value": 0.84, "interval": [0.7, 0.9], "of": 40}}
    content = {
        "splits": {"test": SOME},
        "left_out": {
            "isic2017": {"sources": ["ISIC 2017"], "n": 3, "promised": {"0.95": None, "0.9": point}},
            "ham10000/rosendahl": {"sources": ["HAM10000"], "promised": {"0.9": point}},
            "ham10000/vienna": {"sources": ["HAM10000"], "promised": {"0.9": None}},
            "acral": {"sources": [], "promised": {"0.9": {"sensitivity": {"value": None, "interval": None}}}},
        },
    }
    parsed = evaluation.parse(content)
    assert list(parsed.left_out_titled) == ["ISIC 2017", "HAM10000 (rosendahl)", "HAM10000 (vienna)", "acral"]
    (found,) = (parsed.left_out_sensitivity.get(target) for target in (0.9,))
    assert found is not None
    assert {title: one and one.value for title, one in found.items()} == {
        "ISIC 2017": 0.84,
        "HAM10000 (rosendahl)": 0.84,
        "HAM10000 (vienna)": None,
        "acral": None,
    }
    assert 0.95 not in parsed.left_out_sensitivity, "no network could promise it"


GOOD = {"threshold": [0.1, 0.2], "tp": [1, 1], "fp": [1, 0], "tn": [0, 1], "fn": [0, 0]}


@pytest.mark.parametrize(
    "table",
    [
        [],
        {},
        GOOD | {"threshold": [0.2, 0.1]},
        GOOD | {"threshold": [0.1, 1.2]},
        GOOD | {"threshold": [0.1, float("nan")]},
        GOOD | {"tp": [1]},
        GOOD | {"tp": [1, -1]},
        GOOD | {"tp": [1, 3]},
        GOOD | {"tp": ["<b>", 1]},
    ],
)
def test_a_malformed_evaluation_counts_as_none_and_is_logged(table: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert not evaluation.parse({"splits": {"test": {"threshold_table": {"malignant": table}}}}).held_out
    assert "evaluation.json cannot be used: splits.test.threshold_table.malignant" in caplog.text
    assert evaluation.parse({"splits": {"test": {"threshold_table": {"malignant": GOOD}}}}).held_out


def test_a_figure_may_be_undefined() -> None:
    nothing = {"auc_malignant": {"value": None, "interval": [None, None]}}
    assert (
        evaluation.parse({"splits": {"test": SOME | {"metrics": nothing}}}).held_out[0].metrics["auc_malignant"].value
        is None
    )


def test_made_up_checkpoints_are_measured() -> None:
    assert evaluation.parse(synthetic_checkpoints.evaluation("0")).home


def figure(value: float | None) -> dict[str, Any]:
    return {"value": value, "interval": [value, value]}


EXPLANATION = {
    "n": 3,
    "groups": 2,
    "faithfulness": {
        "n": 3,
        "groups": 2,
        "removed": [0.1, 0.3],
        "maps": {"Grad-CAM": {"drop": figure(0.2), "random": figure(0.1), "above_random": figure(0.1)}},
    },
    "location": {
        "part": "lesion",
        "measure": "peak",
        "code": "malignant",
        "maps": {
            "Grad-CAM": {
                "right": {"n": 2, "empty": 0, "inside": figure(0.5), "chance": 0.2},
                "wrong": {"n": 0, "empty": 1, "inside": figure(None), "chance": None},
            }
        },
    },
}
FLIPS = {"n": 3, "flipped": figure(0.3), "spread": figure(0.1)}
ROBUSTNESS = {
    "n": 3,
    "groups": 2,
    "threshold": 0.3,
    "pictures": {"all": FLIPS, "malignant": FLIPS, "other": FLIPS},
    "views": {"15% brighter": figure(0.1)},
}


def test_what_was_measured_of_maps_and_small_views_stands_beside_the_place() -> None:
    (place,) = evaluation.parse(
        {"splits": {"test": SOME | {"explanation": EXPLANATION, "robustness": ROBUSTNESS}}}
    ).held_out
    assert place.explanation is not None
    assert place.explanation.location is not None
    assert place.explanation.location.maps["Grad-CAM"]["wrong"].inside.value is None
    assert place.explanation.faithfulness.maps["Grad-CAM"].above_random.value == 0.1
    assert place.robustness is not None
    assert place.robustness.pictures["malignant"].flipped.value == 0.3
    without = {key: value for key, value in EXPLANATION.items() if key != "location"}
    (place,) = evaluation.parse({"splits": {"test": SOME | {"explanation": without}}}).held_out
    assert place.explanation is not None
    assert place.explanation.location is None
    assert place.robustness is None


def test_an_evaluation_from_before_has_neither() -> None:
    (place,) = evaluation.parse({"splits": {"test": SOME}}).held_out
    assert place.explanation is None
    assert place.robustness is None


@pytest.mark.parametrize("wrong", [EXPLANATION | {"n": -1}, EXPLANATION | {"faithfulness": {}}, []])
def test_a_malformed_part_counts_as_no_evaluation(wrong: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert not evaluation.parse({"splits": {"test": SOME | {"explanation": wrong}}}).held_out
    assert "splits.test.explanation" in caplog.text
