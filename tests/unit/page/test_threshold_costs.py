"""src/page/views/threshold_costs.py, cost_summary.py and curves.py: what the page says of a threshold, against the
counts it is made from."""

import json
import re
from typing import Any

import pytest

from src.models import evaluation
from src.models.checkpoint_info import EMBEDDED
from src.models.evaluation import MALIGNANT, Evaluation
from src.page.views import cost_summary, curves, threshold_costs
from src.results import chart_data
from src.results import thresholds as screening
from src.tasks import TASKS
from tests.support import synthetic_checkpoints
from tests.support.app import ROOT
from tests.support.markup import parse, text


def made_up(task: str, **changes: Any) -> Evaluation:
    return evaluation.parse(synthetic_checkpoints.evaluation("0", task) | changes)


def with_validation(positives: int) -> Evaluation:
    """A skin model whose validation has so many malignant lesions, all found with 0.5."""
    content = synthetic_checkpoints.evaluation("0", "skin")
    table = screening.threshold_table([0.5] * positives + [0.1] * 50, [True] * positives + [False] * 50)
    content["splits"]["validation"]["threshold_table_groups"] = {MALIGNANT: table}
    return evaluation.parse(content)


# Named thresholds


def test_named_thresholds_are_the_usual_and_the_promised_ones() -> None:
    model = made_up("skin")
    named = {
        named_threshold.name: named_threshold.threshold
        for named_threshold in threshold_costs.named_thresholds(model, 0.044)
    }
    at_95, at_90 = screening.validation_promise(model, 0.95), screening.validation_promise(model, 0.9)
    assert at_95
    assert at_90
    assert named == {
        "Default": 0.044,
        "Standard": 0.5,
        "Clinical safety": 0.3,
        "95% sensitivity": at_95.threshold,
        "90% sensitivity": at_90.threshold,
    }
    assert "Default" not in {named_threshold.name for named_threshold in threshold_costs.named_thresholds(model, 0.3)}


def test_too_few_positives_promise_nothing_but_say_how_many_it_takes() -> None:
    few = with_validation(42)
    thresholds = {
        named_threshold.name: named_threshold.threshold
        for named_threshold in threshold_costs.named_thresholds(few, 0.3)
    }
    assert thresholds["95% sensitivity"] is None
    assert thresholds["90% sensitivity"] == 0.5
    said = text(threshold_costs.promised_sensitivities(TASKS["skin"], few))
    assert "95% sensitivity cannot be promised: the validation split has 42 lesions with cancer" in said
    assert "no more than 93.1%. At least 59 cases without a miss are needed." in said
    assert "90% sensitivity, threshold 0.5: the validation split has 42 lesions with cancer." in said
    assert "At this threshold, 42 of them are referred" in said
    assert "we can be 95% confident that at least 90% of all cancers like these are referred." in said


def test_what_became_of_a_promise_elsewhere_is_said_of_every_dataset() -> None:
    def source(title: str, at_default: float, promised: float | None) -> dict[str, Any]:
        point = None if promised is None else {"sensitivity": {"value": promised, "interval": [0.5, 1.0]}}
        share = {"value": at_default, "interval": [0.5, 1.0], "of": 50}
        default = {
            "threshold": 0.3,
            "tp": 1,
            "fp": 1,
            "tn": 1,
            "fn": 1,
            **dict.fromkeys(("sensitivity", "specificity", "ppv", "npv"), share),
        }
        return {"sources": [title], "promised": {"0.9": point}, "at_default_threshold": {MALIGNANT: default}}

    left_out = {"one": source("Lyon", 0.88, 0.934), "two": source("Oslo", 0.601, None)}
    said = text(threshold_costs.promised_sensitivities(TASKS["skin"], made_up("skin", left_out=left_out)))
    assert "The sensitivity was 93.4% in Lyon." in said
    assert "The model without Oslo could not promise 90%." in said
    assert "had these sensitivities there: 88.0% in Lyon, 60.1% in Oslo." in said
    assert "In other clinics" not in text(threshold_costs.promised_sensitivities(TASKS["skin"], made_up("skin")))


def test_a_checkpoint_that_was_not_counted_by_group_promises_nothing() -> None:
    content = synthetic_checkpoints.evaluation("0", "skin")
    del content["splits"]["validation"]["threshold_table_groups"]
    old = evaluation.parse(content)
    assert all(
        named_threshold.threshold is None
        for named_threshold in threshold_costs.named_thresholds(old, 0.3)
        if named_threshold.name.endswith("sensitivity")
    )
    assert "does not count validation by lesion" in threshold_costs.promised_sensitivities(TASKS["skin"], old)


def test_the_slider_has_every_step_and_every_named_threshold() -> None:
    model = made_up("skin")
    grid = threshold_costs.slider_thresholds(model, 0.044)
    assert grid == sorted(set(grid))
    assert {0.0, 0.01, 0.07, 0.29, 0.5, 0.99, 1.0, 0.044} <= set(grid)
    assert {named_threshold.threshold for named_threshold in threshold_costs.named_thresholds(model, 0.044)} <= set(
        grid
    )


# The costs


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("threshold", [0.0, 0.044, 0.3, 1.0])
def test_figures_are_the_counts(task: str, threshold: float) -> None:
    model = made_up(task)
    shown = threshold_costs.moving_figures(model, threshold, 20)
    for i, place in enumerate(model.held_out):
        point = screening.operating_point(place.tables[MALIGNANT], threshold)
        low, high = point.sensitivity_interval
        assert shown[f"{i}.sensitivity"] == f"{100 * point.sensitivity:.1f}%"
        assert shown[f"{i}.specificity"] == f"{100 * point.specificity:.1f}%"
        first = re.fullmatch(r"\(([\d.]+) to [>]?([\d.]+)\)", shown[f"{i}.sensitivity_interval"])
        assert first
        assert [float(bound) for bound in first.groups()] == pytest.approx([100 * low, 100 * high], abs=0.1)
        carried = screening.outcome(point, 0.02)
        assert shown[f"{i}.found"] == threshold_costs.number_of_people(carried.found.value)
        assert shown[f"{i}.false_alarms"] == f"{carried.false_alarms.value:,.0f}" or carried.false_alarms.value < 10
        assert (shown[f"{i}.ppv"] == "–") == (point.tp + point.fp == 0)


@pytest.mark.parametrize(
    ("people", "shown"), [(0, "0.0"), (0.01, "<0.1"), (0.25, "0.2"), (9.94, "9.9"), (9.96, "10"), (990, "990")]
)
def test_amounts_of_people(people: float, shown: str) -> None:
    assert threshold_costs.number_of_people(people) == shown
    assert threshold_costs.number_of_people(float("nan")) == "–"


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("at", [0.0, 0.3, 1.0])
def test_the_page_has_the_figures_of_every_threshold(task: str, at: float) -> None:
    model = made_up(task)
    thresholds = threshold_costs.slider_thresholds(model, 0.3)
    summary = parse(cost_summary.cost_summary(TASKS[task], model, at, 35, thresholds))
    columns = json.loads(summary.one(attribute="data-columns").attributes["data-columns"])
    assert columns["at"] == thresholds
    for row in (0, 30, 77, len(thresholds) - 1):
        for key, value in threshold_costs.moving_figures(model, thresholds[row], 35).items():
            assert columns[key][row] == value
    shown = parse(threshold_costs.cost_section(TASKS[task], model, at, 35))
    figures = threshold_costs.moving_figures(model, at, 35)
    drawn = {one.attributes["data-figure"]: one.text for one in shown.find(attribute="data-figure")}
    assert drawn == figures
    in_summary = {one.attributes["data-figure"]: one.text for one in summary.find(attribute="data-figure")}
    assert in_summary.items() <= figures.items()
    assert {"threshold", "0.found", "0.missed", "0.false_alarms"} <= set(in_summary)
    moving = set(parse(curves.curves_section(model, 0.3, thresholds, 0.6)).values("data-move"))
    assert moving == set(curves.moving_positions(model, thresholds)) <= set(columns)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.62, 1.0])
def test_the_pictograph_has_a_place_for_each_person_in_a_thousand(threshold: float) -> None:
    model = made_up("skin")
    (test_set,) = model.held_out
    point = screening.operating_point(test_set.tables[MALIGNANT], threshold)
    expected = screening.outcome(point, 0.02)
    summary = parse(cost_summary.cost_summary(TASKS["skin"], model, threshold, 20, [0.3, threshold]))
    people = summary.one(classes="v-people")
    places = dict(part.split(":") for part in people.attributes["style"].split(";"))
    assert float(places["--v-found"]) == pytest.approx(expected.found.value, abs=0.01)
    assert float(places["--v-ill"]) == 20
    assert float(places["--v-referred"]) == pytest.approx(20 + expected.false_alarms.value, abs=0.01)
    columns = json.loads(summary.one(attribute="data-columns").attributes["data-columns"])
    assert [columns["people.found"][1], columns["people.referred"][1]] == [
        float(places["--v-found"]),
        float(places["--v-referred"]),
    ]
    sentence = summary.one(attribute="id")
    assert people.attributes["aria-labelledby"] == sentence.attributes["id"], "its text equivalent"
    figures = threshold_costs.moving_figures(model, threshold, 20)
    assert (
        f"If 20 of 1,000 people like those tested (Home) have cancer, the threshold {figures['threshold']} finds "
        f"{figures['0.found']} of them, misses {figures['0.missed']} "
        f"and raises {figures['0.false_alarms']} false alarms."
    ) in sentence.text
    assert {one.attributes["title"] for one in sentence.find(attribute="data-interval")} == {
        f"95% interval {figures[f'0.{key}_interval']}" for key in ("found", "missed", "false_alarms")
    }


def test_another_hospital_has_a_sentence_of_its_own() -> None:
    model = made_up("ultrasound")
    figures = threshold_costs.moving_figures(model, 0.3, 10)
    shown = text(cost_summary.cost_summary(TASKS["ultrasound"], model, 0.3, 10, [0.3]))
    assert (
        f"In another hospital (Elsewhere), it finds {figures['2.found']} of them, misses {figures['2.missed']}" in shown
    )
    assert "another hospital" not in text(cost_summary.cost_summary(TASKS["skin"], made_up("skin"), 0.3, 10, [0.3]))


def test_marks_have_the_order_of_the_slider() -> None:
    model = made_up("skin")
    marks = threshold_costs.marks(model, 0.044)
    assert {one.name for one in marks} == {one.name for one in threshold_costs.named_thresholds(model, 0.044)}
    at = [one.threshold for one in marks if one.threshold is not None]
    assert at == sorted(at)
    few = threshold_costs.marks(with_validation(42), 0.3)
    assert few[-1].threshold is None, "one that cannot be promised has no place on the slider"
    shown = parse(threshold_costs.threshold_marks(TASKS["skin"], with_validation(42), 0.3))
    lines, buttons = shown.find("path"), shown.find("button")
    assert [button.text.rpartition(" ")[0] for button in buttons] == [one.name for one in few]
    assert ["disabled" in button.attributes for button in buttons] == [one.threshold is None for one in few]
    assert len(lines) == len(few) - 1
    assert few[0].threshold is not None
    assert lines[0].attributes["d"] == f"M{len(few) * few[0].threshold:.3f},0L0.5,1"


def test_external_dataset_stands_beside_test_split() -> None:
    model = made_up("ultrasound")
    shown = parse(threshold_costs.cost_section(TASKS["ultrasound"], model, 0.3, 10))
    heads = [head for head in shown.find("th") if head.attributes["scope"] == "col"]
    assert [head.text for head in heads] == [
        "Test split Home held out from training 60 malignant, 140 not",
        "Second test split Second held out from training 40 malignant, 60 not",
        "External dataset Elsewhere not used in training 50 malignant, 80 not",
    ]
    home, away = (screening.operating_point(model.held_out[i].tables[MALIGNANT], 0.3).sensitivity for i in (0, 2))
    drawn = {one.attributes["data-figure"]: one.text for one in shown.find(attribute="data-figure")}
    assert (drawn["0.sensitivity"], drawn["2.sensitivity"]) == (f"{100 * home:.1f}%", f"{100 * away:.1f}%")
    assert away < home
    assert "not evaluated on an external dataset" not in shown.text
    assert "not evaluated on an external dataset" in text(
        threshold_costs.cost_section(TASKS["skin"], made_up("skin"), 0.3, 10)
    )


def test_melanoma_has_a_line_of_its_own() -> None:
    shown = text(threshold_costs.cost_section(TASKS["skin"], made_up("skin"), 0.3, 10))
    assert "Melanoma alone" in shown
    assert "Melanoma" not in text(threshold_costs.cost_section(TASKS["ultrasound"], made_up("ultrasound"), 0.3, 10))


def test_tiles_are_not_called_people() -> None:
    shown = text(threshold_costs.cost_section(TASKS["histopathology"], made_up("histopathology"), 0.3, 10))
    assert "Of 1,000 tiles, 10 with metastasis" in shown
    assert "people" not in shown


def test_a_checkpoint_without_figures_says_so() -> None:
    assert "not evaluated" in threshold_costs.cost_section(TASKS["skin"], Evaluation(), 0.3, 10)
    assert "not evaluated" in cost_summary.cost_summary(TASKS["skin"], Evaluation(), 0.3, 10, [0.3])
    assert curves.curves_section(Evaluation(), 0.3, [0.3]) == ""


def test_names_from_a_checkpoint_are_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>'\""
    content = synthetic_checkpoints.evaluation("0", "ultrasound")
    content["splits"]["test"]["sources"] = [evil]
    content["external"] = {evil: content["external"]["elsewhere"] | {"sources": [evil]}}
    model = evaluation.parse(content)
    task = TASKS["ultrasound"]
    shown = cost_summary.cost_summary(task, model, 0.3, 10, [0.3])
    shown += threshold_costs.cost_section(task, model, 0.3, 10) + curves.curves_section(model, 0.3, [0.3], 0.4)
    assert not parse(shown).find("img")
    assert evil in text(shown)
    assert any(evil in said for said in parse(shown).values("data-readout"))


# The curves


def test_roc_starts_and_ends_in_the_corners_and_leaves_no_turn_out() -> None:
    table = screening.threshold_table([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [False, False, True, False, True, True])
    assert chart_data.roc_corners(table) == [(0, 0), (0, 2), (1, 2), (1, 3), (3, 3)]


@pytest.mark.parametrize("task", TASKS)
def test_no_two_curves_look_alike(task: str) -> None:
    model = evaluation.read(EMBEDDED / task)
    shown = parse(curves.curves_section(model, 0.3, [0.3]))
    looks = [line.attributes["class"] for line in shown.one(classes="v-key").find("path")]
    assert len(set(looks)) == len(looks) == len(model.held_out)
    style = (ROOT / "src" / "page" / "sections.css").read_text(encoding="utf-8")
    assert all(f".{look.split()[1]} {{ --v-set-colour" in style for look in looks)


def test_the_band_is_around_the_curve() -> None:
    model = made_up("skin")
    (place,) = model.held_out
    band = parse(curves.curves_section(model, 0.3, [0.3])).one("path", classes="v-band").attributes["d"]
    points = [tuple(map(float, pair.split(","))) for pair in band[1:-1].split("L")]
    corners = chart_data.roc_corners(place.tables[MALIGNANT])
    upper, lower = points[: len(corners)], points[: len(corners) - 1 : -1]
    for (fp, tp), (left, top), (right, bottom) in zip(corners, upper, lower, strict=True):
        x, y = curves.FRAME.x(fp / place.negatives), curves.FRAME.y(tp / place.positives)
        assert left - 0.1 <= x <= right + 0.1
        assert top - 0.1 <= y <= bottom + 0.1
    assert upper != lower


def test_the_pictures_place_is_counted() -> None:
    model = made_up("skin")
    (place,) = model.held_out
    point = screening.operating_point(place.tables[MALIGNANT], 0.62)
    shown = text(curves.curves_section(model, 0.3, [0.3], 0.62))
    assert (
        f"scores 62.0%. {point.tp} of the 60 malignant test images and {point.fp} of the 140 others score this high or "
        "higher."
    ) in shown
    assert "This image" not in text(curves.curves_section(model, 0.3, [0.3]))


def test_the_curve_says_its_counts_everywhere() -> None:
    model = made_up("ultrasound")
    at = [screening.operating_point(place.tables[MALIGNANT], 0.3) for place in model.held_out]
    assert (
        f"Threshold 0.3. Home: {at[0].tp} of 60 found, {at[0].fp} false alarms among 140. "
        f"Second: {at[1].tp} of 40 found, {at[1].fp} false alarms among 60. "
        f"Elsewhere: {at[2].tp} of 50 found, {at[2].fp} false alarms among 80."
    ) in parse(curves.curves_section(model, 0.5, [0.1, 0.3])).values("data-readout")


def test_every_test_picture_is_in_one_bar() -> None:
    said = parse(curves.curves_section(made_up("skin"), 0.3, [0.3])).values("data-readout")
    counted = re.compile(r"\d+ to \d+%: (\d+) of 60 malignant test images, (\d+) of 140 others\.")
    says = [found.groups() for one in said if (found := counted.fullmatch(one))]
    assert len(says) == curves.SCORE_BINS
    assert [sum(map(int, side)) for side in zip(*says, strict=True)] == [60, 140]


@pytest.mark.parametrize(
    ("mean", "n", "malignant", "verdict"),
    [
        (0.35, 400, 140, "this fits"),
        (0.35, 400, 240, "this is too low"),
        (0.35, 400, 20, "this is too high"),
        (0.35, 4, 1, "there are too few cases to tell"),
    ],
)
def test_how_far_a_displayed_probability_holds(mean: float, n: int, malignant: int, verdict: str) -> None:
    content = synthetic_checkpoints.evaluation("0", "skin")
    interval = screening.proportion_interval(malignant, n)
    content["splits"]["test"]["calibration"] = [
        {"lower": 0.3, "upper": 0.4, "n": n, "mean_score": mean, "share_malignant": malignant / n, "interval": interval}
    ]
    (place,) = evaluation.parse(content).held_out
    said = curves.reliability_sentence(place, 0.3)
    assert said.startswith(
        f"{n} test images have a displayed probability of 30 to 40%. Of these, {100 * malignant / n:.1f}% are malignant"
    )
    assert said.endswith(f": {verdict}.")
    assert curves.reliability_sentence(place, 0.4) == (
        "no test image has a displayed probability of about 40%, so this cannot be checked."
    )


def test_a_certain_picture_belongs_to_the_last_bin() -> None:
    (place,) = made_up("skin").held_out
    assert curves.reliability_sentence(place, 1.0) == curves.reliability_sentence(place, 0.95)
