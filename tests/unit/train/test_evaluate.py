"""The evaluation on made-up data: external datasets, explanations and robustness, and the threshold tables."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.models import evaluation, perturbations
from src.tasks import TASKS
from tests.support import synthetic_checkpoints
from train import evaluate
from train.data import load
from train.evaluation import explanations

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_evaluation")]


def test_a_set_from_elsewhere_has_the_same_figures_as_a_split(content: dict[str, Any]) -> None:
    assert set(content["splits"]) == {"validation", "test", "test-busbra", "test-multirez"}
    elsewhere, home = content["external"]["breast_usg"], content["splits"]["test-busbra"]
    assert set(elsewhere) == set(home)
    assert elsewhere["sources"] == ["BrEaST"]
    assert elsewhere["n"] == 24
    assert elsewhere["n_per_class"] == {"benign": 16, "malignant": 7, "normal": 1}
    assert elsewhere["metrics"].keys() == home["metrics"].keys()
    assert elsewhere["at_default_threshold"]["malignant"]["threshold"] == 0.3
    assert list(elsewhere["subgroups"]) == ["age", "BIRADS", "lesion_share"]


def test_a_set_that_is_not_there_is_left_out(data: Path, tmp_path: Path) -> None:
    for name in ("busi", "busbra", "multirez", "breastmnist"):
        (tmp_path / name).symlink_to(data / name)
    folder = synthetic_checkpoints.trained(tmp_path / "ultrasound", "ultrasound", data)
    assert evaluate.evaluate(folder, tmp_path)["external"] == {}
    assert (
        evaluate.evaluate(synthetic_checkpoints.trained(tmp_path / "breastmnist-model", "breastmnist", data), data)[
            "external"
        ]
        == {}
    )


def test_it_says_what_the_model_learned_from(content: dict[str, Any], data: Path) -> None:
    training = [sample for sample in load("ultrasound", data) if sample.split == "train"]
    assert content["training"]["n"] == len(training) == sum(content["training"]["n_per_class"].values())
    assert content["training"]["sources"] == ["BUSI", "BUS-BRA", "Multi-REZ"]


def test_every_held_out_set_says_how_far_maps_and_decisions_can_be_trusted(content: dict[str, Any]) -> None:
    assert not {"explanation", "robustness"} & set(content["splits"]["validation"])
    read = evaluation.parse(content)
    assert [place.name for place in read.held_out] == ["test", "test-busbra", "test-multirez", "breast_usg"]
    for place in read.held_out:
        assert place.explanation is not None
        assert place.robustness is not None
        assert place.explanation.n == place.robustness.n == min(place.n, evaluate.EXAMINED)
        assert place.explanation.groups == place.robustness.groups <= place.explanation.n
        assert set(place.explanation.faithfulness.maps) == set(explanations.METHODS)
        assert place.explanation.faithfulness.n == explanations.FAITHFULNESS_IMAGES
        location = place.explanation.location
        if place.name == "test-multirez":
            assert location is None, "it has no lesion outlines"
            continue
        assert location is not None
        assert (location.part, location.measure, location.code) == ("lesion", "peak", "malignant")
        counts = {sum(found.n + found.empty for found in answers.values()) for answers in location.maps.values()}
        assert len(counts) == 1, "both kinds of map are of the same pictures"
        assert 0 < max(counts) <= place.explanation.n
        assert place.robustness.threshold == 0.3
        assert list(place.robustness.views) == [view.name for view in perturbations.perturbations(TASKS["ultrasound"])]
        by_truth = place.robustness.pictures
        assert by_truth["all"].n == by_truth["malignant"].n + by_truth["other"].n == place.robustness.n


def test_what_needs_a_drawn_lesion_is_left_out_where_there_is_none(data: Path, tmp_path: Path) -> None:
    found = evaluate.evaluate(synthetic_checkpoints.trained(tmp_path / "breastmnist-model", "breastmnist", data), data)[
        "splits"
    ]["test"]
    assert "location" not in found["explanation"]
    assert found["robustness"]["n"] == evaluate.EXAMINED


def test_a_group_counts_once_by_its_worst_picture() -> None:
    task = TASKS["skin"]
    codes, lesions, scores = zip(
        *[("mel", "a", 0.9), ("mel", "a", 0.2), ("bcc", "b", 0.6), ("nv", "c", 0.1), ("nv", "c", 0.3)], strict=True
    )
    labels = np.array([task.codes.index(code) for code in codes])
    tables = evaluate.threshold_tables(task, labels, np.array(scores), lesions)
    assert tables["malignant"] == {
        "threshold": [0.2, 0.3, 0.6],
        "tp": [2, 1, 1],
        "fp": [1, 1, 0],
        "tn": [0, 0, 1],
        "fn": [0, 1, 1],
    }
    assert tables["mel"] == {"threshold": [0.2, 0.3], "tp": [1, 0], "fp": [1, 1], "tn": [0, 0], "fn": [0, 1]}
    assert evaluate.threshold_tables(task, labels, np.array(scores))["mel"]["threshold"] == [0.1, 0.2, 0.3, 0.9]
