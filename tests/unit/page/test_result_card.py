"""What the page says of a result, without a browser; the heat map that is drawn; and the checks of arguments."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from src.exports import heat_map as overlay
from src.exports.heat_map import Layers
from src.models import checkpoints, evaluation
from src.models.checkpoints import Checkpoint
from src.models.evaluation import Evaluation
from src.models.prediction import HeatMap
from src.page.views import comparison, explanation, result_card, robustness
from src.results import decisions, formatting
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
from tests.support.markup import Element, parse, text


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


def icon(element: Element) -> list[str]:
    """The strokes of the icons in it."""
    return [path.attributes["d"] for svg in element.find("svg", "v-icon") for path in svg.find("path")]


def test_the_answers_of_several_networks_stand_beside_their_mean() -> None:
    several = result(members=(0.7, 0.5), threshold=0.4)
    said = parse(result_card.decision(several)).one(classes="v-members").text
    assert said == "The 2 networks of this model give 70.0%, 50.0%."
    disagree = parse(result_card.decision(result(members=(0.7, 0.5), threshold=0.6))).one(classes="v-members").text
    assert disagree.endswith("They disagree at this threshold.")
    assert "its first network read" in text(result_card.details(several))
    assert not parse(result_card.decision(result())).find(classes="v-members")
    assert "first network" not in text(result_card.details(result()))


def test_decision_has_a_word_and_an_icon() -> None:
    refer = parse(result_card.decision(result())).one(classes="v-decision v-refer")
    other = parse(result_card.decision(result(decision="no referral", threshold=0.7))).one(
        classes="v-decision v-no-referral"
    )
    assert refer.one(classes="v-word").text == "Refer"
    assert "p(malignant) is 60.0%, at or above the threshold of 30.0%" in refer.text
    assert other.one(classes="v-word").text == "No referral"
    assert "p(malignant) is 60.0%, below the threshold of 70.0%" in other.text
    assert icon(refer) != icon(other)
    assert icon(refer)
    assert icon(other)
    placed = parse(result_card.decision(result())).one("style")
    assert placed.content == ['#threshold-skin { --v-p: 0.6000; --v-p-text: "p(malignant) 60.0%" }'], "on the bar"
    spoken = refer.attributes["data-spoken"]
    assert spoken == (
        "Refer. p(malignant) is 60.0%, at or above the threshold of 30.0%. The most probable class is Melanoma, 60.0%."
    )


def test_the_most_probable_classes_have_name_probability_kind_and_urgency() -> None:
    shown = parse(result_card.most_probable(result(quality=["The image is blurred."])))
    rows = shown.one("tbody").find("tr")
    assert [row.one("th").text for row in rows][:2] == ["Melanoma", "Melanocytic naevus"]
    assert len(rows) == result_card.MOST_PROBABLE
    assert [cell.text for cell in rows[0].find("td")] == ["malignant", "Urgent", "", "60.0%"]
    assert [cell.text for cell in rows[1].find("td")] == ["not malignant", "Not urgent", "", "40.0%"]
    assert shown.one(classes="v-warnings").text == "The image is blurred."
    empty = parse(result_card.no_classes(TASKS["skin"]))
    assert len(empty.one(classes="v-pending").find("i")) == len(rows), "they keep the room"
    assert len(parse(result_card.no_classes(TASKS["breastmnist"])).one(classes="v-pending").find("i")) == 2


def test_markup_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    doubted = result(gate=synthetic_results.gate(sentence=evil))
    assert doubted.gate is not None
    named = [{**one.model_dump(), "name": evil} for one in doubted.classes]
    shown = result_card.most_probable(result(quality=[evil])) + result_card.refusal(evil)
    shown += explanation.heat_map_caption(result(classes=named))
    shown += result_card.gate_question(TASKS["skin"], doubted.gate) + result_card.decision(doubted)
    shown += robustness.robustness_section(decisions.robustness([(evil, 0.5)], 0.4, 0.3), 0.3, Evaluation())
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;") == 6


def test_caption_says_for_which_class_or_that_there_is_no_evidence() -> None:
    def caption(**changes: Any) -> str:
        return text(explanation.heat_map_caption(result(**changes)))

    assert "Grad-CAM shows the evidence for Melanoma, the most probable class." in caption()
    assert "Melanocytic naevus, which is not the most probable class (Melanoma is)" in caption(explained_class="nv")
    empty = caption(heatmap_empty=True)
    assert "finds no evidence in the image for Melanoma, the most probable class." in empty
    assert "the others have even less evidence" in empty
    assert "even less" not in caption(heatmap_empty=True, explained_class="nv")
    assert "no heat map" in caption(explained_class=None)


def test_a_rejected_image_is_asked_about_and_its_answer_says_so() -> None:
    gate = synthetic_results.gate(sentence="This looks like histopathology.")
    asked = text(result_card.gate_question(TASKS["skin"], GateResult.model_validate(gate)))
    assert "This looks like histopathology." in asked
    assert "%" not in asked
    shown = text(result_card.decision(result(gate=gate)))
    assert "You asked to see this answer. This looks like histopathology." in shown
    assert "You asked" not in text(result_card.decision(result(gate={**gate, "accepted": True})))


def test_the_view_lays_the_map_over_the_part_it_is_of() -> None:
    picture, colours = Image.new("RGB", (300, 200)), Image.new("RGBA", (8, 8))

    def viewer(*boxes: tuple[float, float, float, float]) -> Element:
        return parse(explanation.heat_map_viewer(result(), Layers(picture, colours, *boxes)))

    shown = viewer((0.1, 0.2, 0.9, 1), (0.1, 0.2, 0.9, 1))
    placed = "left:10.000%;top:20.000%;width:80.000%;height:80.000%"
    assert shown.one(classes="v-over").one("img").attributes["style"] == placed
    assert shown.one(classes="v-frame").attributes["style"] == placed
    assert [one.attributes["type"] for one in shown.find("input", attribute="aria-label")] == ["range", "range"]
    assert "the evidence for Melanoma" in shown.text
    assert not viewer(WHOLE, WHOLE).find(classes="v-frame")
    framed = viewer(WHOLE, WHOLE, (1 / 3, 1 / 3, 2 / 3, 2 / 3)).one(classes="v-frame")
    assert framed.attributes["style"] == "left:33.333%;top:33.333%;width:33.333%;height:33.333%"


WHOLE = (0.0, 0.0, 1.0, 1.0)


def figure(value: float) -> dict[str, Any]:
    return {"value": value, "interval": [value - 0.05, value + 0.05]}


def evaluation_of_versions_and_maps() -> Evaluation:
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


def test_how_far_a_map_can_be_trusted_stands_beside_it() -> None:
    def shown(measured: Evaluation, **changes: Any) -> str:
        return text(explanation.heat_map_trust(result(**changes), measured))

    trusted = shown(evaluation_of_versions_and_maps())
    assert "falls by 30.0 (25.0 to 35.0) percentage points." in trusted
    assert "shifted at random, the probability falls by 10.0 (5.0 to 15.0)." in trusted
    assert "The difference is 20.0 (15.0 to 25.0)." in trusted
    assert "peak of the map lies in the outlined lesion for 60.0% of 40 right decisions (20.0% by chance)." in trusted
    assert "wrong decisions" not in trusted, "none was counted"
    assert "trusted" not in shown(evaluation_of_versions_and_maps(), explanation="Guided Grad-CAM")
    assert "trusted" not in shown(Evaluation())
    assert shown(evaluation_of_versions_and_maps(), explained_class=None) == "", "there is no heat map"


ROUND = decisions.robustness([("brighter", 0.5), ("darker", 0.1)], 0.4, 0.3)


def test_altered_versions_have_name_figure_word_and_icon() -> None:
    assert (ROUND.lowest, ROUND.highest, ROUND.flipped, ROUND.borderline) == (0.1, 0.5, 1, True)
    shown = parse(robustness.robustness_section(ROUND, 0.3, evaluation_of_versions_and_maps()))
    refer, other = shown.one(classes="v-chips").find("li")
    assert (refer.text, refer.attributes["class"]) == ("brighter 50.0%, refer", "v-refer")
    assert (other.text, other.attributes["class"]) == ("darker 10.0%, no referral", "v-no-referral")
    assert icon(refer) != icon(other)
    assert "Borderline" in shown.text
    assert shown.one(classes="v-fill").attributes["style"] == "left:10.00%;right:50.00%"
    assert "at a threshold of 0.3, the decision changes in at least one altered version" in shown.text
    assert "for 12.0% (7.0 to 17.0) of 50 images. Of the 20 malignant ones" in shown.text
    assert "it changes for 12.0% (7.0 to 17.0)." in shown.text
    steady = decisions.robustness_at_threshold(ROUND, 0.05)
    assert not steady.borderline
    held = text(robustness.robustness_section(steady, 0.05, Evaluation()))
    assert "The decision holds for all 2 altered versions" in held
    assert "Borderline" not in held
    assert "at least one" not in held


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
    first, second = parse(shown).one("tbody").find("tr")
    assert "0.900 (0.850 to 0.950)" in first.text
    assert "0.900 (0.850 to 0.950)" in second.text
    assert first.text.endswith("4.2 ms")
    assert second.text.endswith("–"), "it was not timed"
    assert "Breastmnist-Logistic" in second.text
    both = parse(comparison.side_by_side(model_answers_of(SAID, two), two, 0.3))
    assert "The models disagree." in both.text
    assert [one.text for one in both.find(classes="v-word")] == ["Refer", "No referral"]
    alike = text(comparison.side_by_side(model_answers_of(SAID, two), two, 0.7))
    assert "All models make the same decision." in alike
    assert "disagree" not in alike


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


def test_the_region_that_was_read_is_named() -> None:
    assert "the whole image, 600 × 450 pixels" in text(result_card.details(result()))
    part = text(result_card.details(result(region=[10, 20, 510, 420])))
    assert "500 × 400 of 600 × 450 pixels, 10 pixels from the left edge and 20 pixels from the upper edge" in part


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
