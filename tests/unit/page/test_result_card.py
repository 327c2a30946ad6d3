"""What the page says and draws, without a browser: panel.py, overlay.py and the arguments of answers.py."""

import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from src.exports import heat_map as overlay
from src.exports.heat_map import Layers
from src.models import checkpoints
from src.models.checkpoints import Checkpoint
from src.models.predictor import HeatMap
from src.page.views import comparison, explanation, result_card, robustness
from src.results import decisions, evaluation, formatting
from src.results.evaluation import Measured
from src.results.result import GateResult, Result
from src.service.arguments import (
    ArgumentRefused,
    code_of,
    explanation_of,
    model_answers_of,
    model_of,
    prevalence_of,
    result_of,
    robustness_of,
    threshold_of,
)
from src.tasks import TASKS
from tests.support import synthetic_checkpoints, synthetic_results

ARROW, DASH = "M8 12h8M12.5 8l4 4-4 4", '"M8 12h8"'
"""The strokes in the icons of the two decisions (macros.html)."""


def result(**changes: Any) -> Result:
    """An answer whose most probable class is melanoma."""
    shares = dict.fromkeys(TASKS["skin"].codes, 0.0) | {"mel": 0.6, "nv": 0.4}
    ordered = sorted(TASKS["skin"].classes, key=lambda one: -shares[one.code])
    classes = [
        {"code": one.code, "name": one.name, "probability": shares[one.code], "malignant": one.malignant}
        for one in ordered
    ]
    return synthetic_results.result(
        "skin", **{"p_malignant": 0.6, "classes": classes, "explained_class": "mel", **changes}
    )


def test_decision_is_told_by_word_and_sign() -> None:
    refer, other = result_card.decision(result()), result_card.decision(result(decision="no referral", threshold=0.7))
    assert ">Refer<" in refer
    assert "at or above the threshold of <b>30.0%" in refer
    assert ">No referral<" in other
    assert "below the threshold of <b>70.0%" in other
    assert ARROW in refer
    assert DASH in other


def test_markup_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    doubted = result(gate=synthetic_results.gate(sentence=evil))
    assert doubted.gate is not None
    named = [{**one.model_dump(), "name": evil} for one in doubted.classes]
    shown = result_card.details(result(quality=[evil])) + result_card.refusal(evil)
    shown += explanation.heat_map_caption(result(classes=named))
    shown += result_card.gate_question(TASKS["skin"], doubted.gate) + result_card.decision(doubted)
    shown += robustness.robustness_section(decisions.robustness([(evil, 0.5)], 0.4, 0.3), 0.3, Measured())
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;") == 6


def test_caption_says_for_which_class_or_that_nothing_argues() -> None:
    assert "what argues for <b>Melanoma</b>, the most probable class" in explanation.heat_map_caption(result())
    other = explanation.heat_map_caption(result(explained_class="nv"))
    assert "<b>Melanocytic naevus</b>, which is not the most probable class (Melanoma is)" in other
    empty = explanation.heat_map_caption(result(heatmap_empty=True))
    assert "nothing in the picture argues for <b>Melanoma</b>, the most probable class; it won" in empty
    assert "it won" not in explanation.heat_map_caption(result(heatmap_empty=True, explained_class="nv"))
    assert "No heat map" in explanation.heat_map_caption(result(explained_class=None))


def test_a_picture_the_gate_does_not_know_is_asked_about_and_the_answer_says_so_afterwards() -> None:
    gate = synthetic_results.gate(sentence="This looks like histopathology.")
    asked = result_card.gate_question(TASKS["skin"], GateResult.model_validate(gate))
    assert "This looks like histopathology." in asked
    assert "%" not in asked
    assert "Shown at your wish. This looks like histopathology." in result_card.decision(result(gate=gate))
    assert "at your wish" not in result_card.decision(result(gate={**gate, "accepted": True}))


def test_the_view_lays_the_map_over_the_part_it_is_of() -> None:
    picture, colours = Image.new("RGB", (300, 200)), Image.new("RGBA", (8, 8))
    layers = Layers(picture, colours, (0.1, 0.2, 0.9, 1), (0.1, 0.2, 0.9, 1))
    shown = explanation.heat_map_viewer(result(), layers, Measured())
    assert shown.count("left:10.000%;top:20.000%;width:80.000%;height:80.000%") == 2  # the map, and its frame
    assert shown.count('type="range"') == shown.count("aria-label=") == 2
    assert "what argues for <b>Melanoma</b>" in shown
    assert "v-frame" not in explanation.heat_map_viewer(result(), Layers(picture, colours, WHOLE, WHOLE), Measured())
    framed = explanation.heat_map_viewer(
        result(), Layers(picture, colours, WHOLE, WHOLE, (1 / 3, 1 / 3, 2 / 3, 2 / 3)), Measured()
    )
    assert "left:33.333%;top:33.333%;width:33.333%;height:33.333%" in framed


WHOLE = (0.0, 0.0, 1.0, 1.0)


def figure(value: float) -> dict[str, Any]:
    return {"value": value, "interval": [value - 0.05, value + 0.05]}


def measured_by_views_and_maps() -> Measured:
    content = synthetic_checkpoints.evaluation("0")
    faith = {"drop": figure(0.3), "random": figure(0.1), "above_random": figure(0.2)}
    inside = {"n": 40, "empty": 0, "inside": figure(0.6), "chance": 0.2}
    content["splits"]["test"] |= {
        "explanation": {
            "n": 50,
            "groups": 50,
            "faithfulness": {"n": 50, "groups": 50, "removed": [0.1], "maps": {"Grad-CAM": faith}},
            "location": {
                "part": "lesion",
                "measure": "peak",
                "code": "mel",
                "maps": {"Grad-CAM": {"right": inside, "wrong": {**inside, "n": 0}}},
            },
        },
        "robustness": {
            "n": 50,
            "groups": 50,
            "threshold": 0.3,
            "pictures": {
                who: {"n": n, "flipped": figure(0.12), "spread": figure(0.3)}
                for who, n in (("all", 50), ("malignant", 20))
            },
            "views": {"15% brighter": figure(0.1)},
        },
    }
    return evaluation.parse(content)


def test_how_far_a_map_can_be_trusted_stands_beside_it_where_it_was_measured() -> None:
    layers = Layers(Image.new("RGB", (30, 20)), Image.new("RGBA", (8, 8)), WHOLE, WHOLE)
    shown = explanation.heat_map_viewer(result(), layers, measured_by_views_and_maps())
    assert "falls by 30.0 (25.0 to 35.0) percentage points; by 10.0 (5.0 to 15.0) where" in shown
    assert "The difference is 20.0 (15.0 to 25.0)." in shown
    assert "its peak lies in the outlined lesion in 60.0% of 40 right decisions (by chance in 20.0%)." in shown
    assert "wrong decisions" not in shown, "none was counted"
    assert "trusted" not in explanation.heat_map_viewer(
        result(explanation="Guided Grad-CAM"), layers, measured_by_views_and_maps()
    )
    assert "trusted" not in explanation.heat_map_viewer(result(), layers, Measured())


ROUND = decisions.robustness([("brighter", 0.5), ("darker", 0.1)], 0.4, 0.3)


def test_views_are_told_by_name_figure_word_and_sign() -> None:
    assert (ROUND.lowest, ROUND.highest, ROUND.flipped, ROUND.borderline) == (0.1, 0.5, 1, True)
    shown = robustness.robustness_section(ROUND, 0.3, measured_by_views_and_maps())
    assert re.search(
        rf'<li class="v-refer"><svg[^>]*>.*?{re.escape(ARROW)}.*?</svg><span><b>brighter</b> 50.0%, refer', shown
    )
    assert re.search(
        rf'<li class="v-no-referral"><svg[^>]*>.*?{DASH}.*?</svg><span><b>darker</b> 10.0%, no referral', shown
    )
    assert "Borderline" in shown
    assert "left:10.00%;right:50.00%" in shown
    assert "of 50 pictures 12.0% (7.0 to 17.0) flip in at least one" in shown
    assert "the 20 malignant ones 12.0%" in shown
    steady = decisions.robustness_at_threshold(ROUND, 0.05)
    assert not steady.borderline
    assert "Borderline" not in robustness.robustness_section(steady, 0.05, Measured())
    assert "flip" not in robustness.robustness_section(steady, 0.05, Measured())


@pytest.mark.parametrize(
    "found",
    [
        None,
        {},
        [],
        ROUND.model_dump() | {"views": []},
        ROUND.model_dump() | {"p_malignant": 2},
        ROUND.model_dump() | {"views": ["x"]},
    ],
)
def test_views_that_are_none_are_not_decided_again(found: Any) -> None:
    with pytest.raises(ArgumentRefused):
        robustness_of(found)
    assert robustness_of(ROUND.model_dump(mode="json")) == ROUND


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    """BreastMNIST's two models, made up."""
    folder = tmp_path_factory.mktemp("two")
    architectures = {"breastmnist": "vigil_cnn28", "breastmnist-logistic": "vigil_linear28"}
    return {
        name: checkpoints.load(
            "breastmnist", synthetic_checkpoints.write(folder / name, "breastmnist", architecture, name=name.title())
        )
        for name, architecture in architectures.items()
    }


SAID = [
    {"model": "breastmnist", "p_malignant": 0.6, "most_probable": "Malignant lesion", "probability": 0.6},
    {"model": "breastmnist-logistic", "p_malignant": 0.2, "most_probable": "Benign lesion", "probability": 0.8},
]


def test_models_stand_beside_each_other_with_figures_and_speed(two: dict[str, Checkpoint]) -> None:
    shown = comparison.models_table(two, {"breastmnist": 4.25})
    assert shown.count("0.900 (0.850 to 0.950)") == 2
    assert "4.2 ms" in shown
    assert "Breastmnist-Logistic" in shown
    both = comparison.side_by_side(model_answers_of(SAID, two), two, 0.3)
    assert "They disagree" in both
    assert both.count("</svg>Refer<") == both.count("</svg>No referral<") == 1
    assert "They disagree" not in comparison.side_by_side(model_answers_of(SAID, two), two, 0.7)


@pytest.mark.parametrize(
    "said", [None, {}, [], ["x"], [{**SAID[0], "model": "skin"}], [{**SAID[0], "p_malignant": -1}]]
)
def test_what_no_model_said_is_not_compared(said: Any, two: dict[str, Checkpoint]) -> None:
    with pytest.raises(ArgumentRefused):
        model_answers_of(said, two)
    assert [one.model_dump() for one in model_answers_of(SAID, two)] == SAID


@pytest.mark.parametrize("value", [None, "melanoma", 3, ["mel"], "NV"])
def test_what_is_no_class_or_model(value: object) -> None:
    with pytest.raises(ArgumentRefused):
        code_of(value, TASKS["skin"])
    with pytest.raises(ArgumentRefused):
        model_of(value, "skin", ["skin", "skin-small", "skinny"])
    assert (code_of("", TASKS["skin"]), code_of("nv", TASKS["skin"])) == (None, "nv")
    assert model_of("skin-small", "skin", ["skin-small", "skin"]) == "skin-small"
    assert model_of("", "skin", ["skin-small", "skin"]) == "skin"


def test_the_region_read_is_told() -> None:
    assert "The whole picture" in result_card.details(result())
    assert "500 × 400 of 600 × 450 pixels, from 10, 20" in result_card.details(result(region=[10, 20, 510, 420]))


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0.0%"), (1e-9, "<0.1%"), (0.1234, "12.3%"), (0.99999, ">99.9%"), (1, "100.0%")],
)
def test_percent_is_never_a_false_certainty(share: float, shown: str) -> None:
    assert formatting.percent(share) == shown


def heat_map(values: np.ndarray, box: tuple[int, int, int, int]) -> HeatMap:
    return HeatMap("Grad-CAM", "mel", values.astype(np.float32), box)


def test_overlay_colours_where_the_map_is_strong_and_leaves_the_rest() -> None:
    grey = Image.new("RGB", (100, 80), (128, 128, 128))
    values = np.zeros((8, 8))
    values[:, 4:] = 1
    drawn = np.asarray(overlay.draw(grey, heat_map(values, (0, 0, 100, 80)), (0, 0, 100, 80))).astype(int)
    assert drawn.shape == (80, 100, 3)
    assert (drawn[:, :40] == 128).all()
    # 0.6 of viridis' yellow (253, 231, 37), 0.4 of the grey
    assert np.abs(drawn[:, 70:] - (203, 190, 73)).max() <= 3
    assert (np.asarray(grey) == 128).all(), "the picture handed in stays as it was"


def test_an_all_zero_map_leaves_the_picture() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    drawn = overlay.draw(picture, heat_map(np.zeros((7, 7)), (0, 0, 50, 40)), (0, 0, 50, 40))
    assert np.array_equal(np.asarray(drawn), np.asarray(picture))


def test_only_the_part_that_was_seen_is_coloured_and_framed() -> None:
    black = Image.new("RGB", (100, 80))
    drawn = np.asarray(overlay.draw(black, heat_map(np.ones((4, 4)), (20, 10, 90, 70)), (20, 10, 90, 70)))
    outside = np.ones((80, 100), bool)
    outside[10:70, 20:90] = False
    assert not drawn[outside].any()
    assert (drawn[10, 20:90] == 255).all()
    assert drawn[40, 50].any()


def test_a_very_large_picture_is_drawn_smaller() -> None:
    large = Image.new("RGB", (6000, 4000))
    drawn = overlay.draw(large, heat_map(np.ones((4, 4)), (0, 0, 6000, 4000)), (0, 0, 6000, 4000))
    assert drawn.size == overlay.drawn_size((6000, 4000))
    assert 0.99 * overlay.MAX_DRAWN_PIXELS < drawn.width * drawn.height <= overlay.MAX_DRAWN_PIXELS
    assert overlay.drawn_size((4000, 3000)) == (4000, 3000)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e-9, 1.0000001, True, "0.3", None, [0.3], 1j, 10**400])
def test_what_is_no_threshold(value: object) -> None:
    with pytest.raises(ArgumentRefused):
        threshold_of(value)


def test_arguments_that_are_good() -> None:
    assert [threshold_of(t) for t in (0, 1, 0.25)] == [0.0, 1.0, 0.25]
    assert explanation_of("none") == "none"


@pytest.mark.parametrize("value", [float("nan"), 0, 1000, -1, True, "10", None, [10], 10**400])
def test_what_is_no_prevalence(value: object) -> None:
    with pytest.raises(ArgumentRefused):
        prevalence_of(value)
    assert prevalence_of(12.5) == 12.5


WHOLE_RESULT = result().model_dump(mode="json")


@pytest.mark.parametrize(
    "last",
    [
        None,
        {},
        [],
        "x",
        *(WHOLE_RESULT | {"p_malignant": value} for value in ("0.5", True, float("nan"), 2, None)),
        WHOLE_RESULT | {"task": "lung"},
        WHOLE_RESULT | {"classes": WHOLE_RESULT["classes"][1:]},
        WHOLE_RESULT | {"explained_class": "melanoma"},
        {key: value for key, value in WHOLE_RESULT.items() if key != "screening"},
    ],
)
def test_a_result_that_is_none_is_not_decided_again(last: Any) -> None:
    with pytest.raises(ArgumentRefused):
        result_of(last)
    assert result_of(WHOLE_RESULT) == result()
