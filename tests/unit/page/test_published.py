"""What others have published, beside our own figures."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from src.models.evaluation import EvaluatedSet
from src.page.views import published
from src.tasks import TASKS
from tests.support.markup import parse
from train.evaluation import metrics

REFERENCE: dict[str, Any] = {"model": "Theirs", "split": "test", "n": 100, "beside": "test", "source": "a paper"}


def cells(task: str, own: Mapping[str, EvaluatedSet]) -> list[list[str]]:
    """The texts of the table's cells, by row, without the first column, which names the model."""
    return [
        [cell.text for cell in row.find("td")]
        for row in parse(published.beside(TASKS[task], own)).one("tbody").find("tr")
    ]


def test_every_reference_names_source_split_and_comparability() -> None:
    assert set(published.REFERENCES) == {"about", *TASKS}
    for task in TASKS:
        for reference in published.REFERENCES[task]:
            assert set(reference) == {"model", "split", "n", "beside", "difference", "source", "figures"}
            assert reference["source"]
            assert reference["split"]
            assert reference["difference"] or (reference["n"] and reference["beside"]), "comparable to what?"
            assert all(claimed["metric"] in published.NAMES for claimed in reference["figures"])
        for reference, (_, _, theirs, ours, _) in zip(published.REFERENCES[task], cells(task, {}), strict=True):
            numbers = re.findall(r"[\d.]+", theirs)
            assert len(numbers) >= len(reference["figures"]) > 0
            assert all(0 < float(number) < 1 for number in numbers)
            assert set(ours) <= {"–", " "}, "no model of ours, no figure"


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
def test_what_compares(
    difference: str | None, theirs: int, ours: int | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = REFERENCE | {"difference": difference, "n": theirs, "figures": []}
    monkeypatch.setattr(published, "REFERENCES", {"skin": [reference]})
    ((*_, comparable),) = cells("skin", {"test": evaluated(n=ours)} if ours else {})
    assert comparable == said


def test_our_figure_beside_theirs_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
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
    expected = {
        "auc_malignant": r"0\.800 \(0\.700 to 0\.900\)",
        "sensitivity": r"0\.750 \(.* at 0\.3",
        "sensitivity_mel": r"0\.750 \(.* at 0\.3",
        "accuracy_malignant": r"0\.700 \(.*",
        "precision_malignant": r"0\.600 \(.*",
        "recall_malignant": r"0\.750 \(.*",
        "f1_malignant": r"0\.667",
        "f1": "–",
    }
    for metric, pattern in expected.items():
        claimed = {"metric": metric, "value": 0.5}
        reference = REFERENCE | {"difference": None, "figures": [claimed]}
        monkeypatch.setattr(published, "REFERENCES", {"skin": [reference]})
        ((_, _, theirs, ours, _),) = cells("skin", {"test": own})
        assert theirs == "0.500"
        assert re.fullmatch(pattern, ours), (metric, ours)
