"""What others have published, beside our own figures."""

import re
from typing import Any

import pytest

from src.models.evaluation import EvaluatedSet
from src.page.views import published
from src.tasks import TASKS
from train.evaluation import metrics


# What others publish
def test_every_reference_names_source_split_and_comparability() -> None:
    assert set(published.REFERENCES) == {"about", *TASKS}
    for task in TASKS:
        for reference in published.REFERENCES[task]:
            assert set(reference) == {"model", "split", "n", "beside", "difference", "source", "figures"}
            assert reference["source"]
            assert reference["split"]
            assert reference["difference"] or (reference["n"] and reference["beside"]), "comparable to what?"
            for claimed in reference["figures"]:
                assert claimed["metric"] in published.NAMES
                numbers = re.findall(r"[\d.]+", published._claimed(claimed))
                assert numbers
                assert all(0 < float(number) < 1 for number in numbers)


def evaluated(**figures: Any) -> EvaluatedSet:
    return EvaluatedSet.model_validate({"name": "test", "kind": "home", **figures})


@pytest.mark.parametrize(
    ("difference", "theirs", "ours", "said"),
    [
        (None, 156, 156, "Yes: the same 156 images and the same question."),
        (None, 252, 128, "In part: the same dataset and question, but Vigil was evaluated on 128 of its images."),
        ("other lesions", 100, 100, "No: other lesions."),
        (None, 252, None, "No: this model was not evaluated on that dataset."),
    ],
)
def test_what_compares(difference: str | None, theirs: int, ours: int | None, said: str) -> None:
    assert published._comparable({"difference": difference, "n": theirs}, evaluated(n=ours) if ours else None) == said


def test_our_figure_beside_theirs_by_hand() -> None:
    table: dict[str, list[Any]] = {
        "threshold": [0.1, 0.5, 0.9],
        "tp": [4, 3, 1],
        "fp": [6, 2, 0],
        "tn": [0, 4, 6],
        "fn": [0, 1, 3],
    }
    point = metrics.at_threshold(table, 0.3)
    own = evaluated(
        metrics={"auc_malignant": {"value": 0.8, "interval": [0.7, 0.9]}},
        at_default_threshold={"malignant": point, "mel": point},
        threshold_table={"malignant": table},
    )
    assert published._own("auc_malignant", own) == "0.800 (0.700 to 0.900)"
    assert published._own("sensitivity", own).startswith("0.750 (")
    assert published._own("sensitivity_mel", own).endswith(" at 0.3")
    assert published._own("accuracy_malignant", own).startswith("0.700 (")
    assert published._own("precision_malignant", own).startswith("0.600 (")
    assert published._own("recall_malignant", own).startswith("0.750 (")
    assert published._own("f1_malignant", own) == "0.667"
    assert published._own("f1", own) == "–"
