"""What the page says and draws, without a browser: panel.py, overlay.py and the arguments of answers.py."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from src import overlay, weights
from src.answers import ArgumentRefused, decided_again, explanation_of, prevalence_of, threshold_of
from src.page import panel
from src.predictor import HeatMap, Predictor
from tests import made_up_checkpoints


def result(**changes: Any) -> dict[str, Any]:
    classes = [
        {"code": "mel", "name": "Melanoma", "probability": 0.6, "malignant": True},
        {"code": "nv", "name": "Melanocytic naevus", "probability": 0.4, "malignant": False},
    ]
    return {
        "task": "skin",
        "p_malignant": 0.6,
        "threshold": 0.3,
        "decision": "refer",
        "classes": classes,
        "quality": [],
        "operating_point": None,
        "explanation": "Grad-CAM",
        "explained_class": "mel",
        "heatmap_empty": False,
        "size": [600, 450],
        "region": [0, 0, 600, 450],
        **changes,
    }


def test_decision_is_told_by_word_and_sign() -> None:
    refer, other = panel.decision(result()), panel.decision(result(decision="no referral", threshold=0.7))
    assert ">Refer<" in refer
    assert "at or above the threshold of <b>30.0%" in refer
    assert ">No referral<" in other
    assert "below the threshold of <b>70.0%" in other
    assert panel.ARROW in refer
    assert panel.DASH in other


def test_markup_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    shown = panel.details(result(quality=[evil])) + panel.refusal(evil) + panel.caption(result(explanation=evil))
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;") == 3


def test_caption_says_for_which_class_or_that_nothing_argues() -> None:
    assert "what argues for <b>Melanoma</b>" in panel.caption(result())
    assert "nothing in the picture argues for <b>Melanoma</b>" in panel.caption(result(heatmap_empty=True))
    assert "No heat map" in panel.caption(result(explained_class=None))
    assert "Drawn smaller" in panel.caption(result(size=[6000, 4000]))


def test_the_region_read_is_told() -> None:
    assert "The whole picture" in panel.details(result())
    assert "500 × 400 of 600 × 450 pixels, from 10, 20" in panel.details(result(region=[10, 20, 510, 420]))


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0.0%"), (1e-9, "&lt;0.1%"), (0.1234, "12.3%"), (0.99999, "&gt;99.9%"), (1, "100.0%")],
)
def test_percent_is_never_a_false_certainty(share: float, shown: str) -> None:
    assert panel.percent(share) == shown


def heat(values: np.ndarray, box: tuple[int, int, int, int]) -> HeatMap:
    return HeatMap("Grad-CAM", "mel", values.astype(np.float32), box)


def test_overlay_colours_where_the_map_is_strong_and_leaves_the_rest() -> None:
    grey = Image.new("RGB", (100, 80), (128, 128, 128))
    values = np.zeros((8, 8))
    values[:, 4:] = 1
    drawn = np.asarray(overlay.draw(grey, heat(values, (0, 0, 100, 80)), (0, 0, 100, 80))).astype(int)
    assert drawn.shape == (80, 100, 3)
    assert (drawn[:, :40] == 128).all()
    # 0.6 of viridis' yellow (253, 231, 37), 0.4 of the grey
    assert np.abs(drawn[:, 70:] - (203, 190, 73)).max() <= 3
    assert (np.asarray(grey) == 128).all(), "the picture handed in stays as it was"


def test_an_all_zero_map_leaves_the_picture() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    drawn = overlay.draw(picture, heat(np.zeros((7, 7)), (0, 0, 50, 40)), (0, 0, 50, 40))
    assert np.array_equal(np.asarray(drawn), np.asarray(picture))


def test_only_the_part_that_was_seen_is_coloured_and_framed() -> None:
    black = Image.new("RGB", (100, 80))
    drawn = np.asarray(overlay.draw(black, heat(np.ones((4, 4)), (20, 10, 90, 70)), (20, 10, 90, 70)))
    outside = np.ones((80, 100), bool)
    outside[10:70, 20:90] = False
    assert not drawn[outside].any()
    assert (drawn[10, 20:90] == 255).all()
    assert drawn[40, 50].any()


def test_a_very_large_picture_is_drawn_smaller() -> None:
    large = Image.new("RGB", (6000, 4000))
    drawn = overlay.draw(large, heat(np.ones((4, 4)), (0, 0, 6000, 4000)), (0, 0, 6000, 4000))
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


@pytest.mark.parametrize("last", [None, {}, {"p_malignant": "x"}, [], "x"])
def test_a_result_that_is_none_is_not_decided_again(last: Any, tmp_path: Any) -> None:
    predictor = Predictor(weights.load("breastmnist", made_up_checkpoints.write(tmp_path, "breastmnist")))
    with pytest.raises(ArgumentRefused):
        decided_again(predictor.checkpoint, last, 0.5)
