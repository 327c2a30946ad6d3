"""`python -m train.evaluate --check`: every published number is derived again and compared."""

import copy
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.models import checkpoint_info
from src.results import thresholds
from tests.support import synthetic_checkpoints
from train import card, check, evaluate

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_evaluation")]


def test_checked_again_every_number_comes_out_and_nothing_is_written(
    evaluated: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.stat().st_mtime_ns for file in evaluated.rglob("*")}
    assert evaluate.main(["--check", str(evaluated), "--data", str(data)]) == 0
    assert capsys.readouterr().out.startswith("0 differences")
    assert {file: file.stat().st_mtime_ns for file in evaluated.rglob("*")} == before


def test_a_number_that_does_not_come_out_is_named(
    evaluated: Path, content: dict[str, Any], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(evaluated, tmp_path / "copy")
    changed = copy.deepcopy(content)
    changed["external"]["breast_usg"]["calibration"][0]["n"] += 1  # a figure that no card shows
    synthetic_checkpoints.rewrite(folder / "evaluation.json", changed)
    card_text = (folder / "README.md").read_text()
    (folder / "README.md").write_text(card_text.replace("| Accuracy | 0.", "| Accuracy | 1."))
    assert evaluate.main(["--check", str(folder), "--data", str(data)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("evaluation.json.external.breast_usg.calibration")
    assert re.match(
        r".*README.md, line \d+: “\| Accuracy \| 1\..*” is published, “\| Accuracy \| 0\..*” is derived", lines[1]
    )
    assert lines[2].startswith("2 differences")
    assert len(lines) == 3


def changed_at(content: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    """A copy in which the value at `path` is changed."""
    changed = copy.deepcopy(content)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = change(place[path[-1]])
    return changed


@pytest.mark.parametrize(
    "path",
    [
        ("weights_sha256",),
        ("training", "n"),
        ("splits", "test", "n_per_class", "malignant"),
        ("splits", "test", "metrics", "accuracy", "interval", 0),
        ("splits", "test", "at_default_threshold", "malignant", "tp"),
        ("splits", "test", "confusion_matrix", 1, 2),
        ("splits", "test", "calibration", 0, "n"),
        ("splits", "test", "threshold_table", "malignant", "threshold", 3),
        ("splits", "test", "threshold_table", "malignant", "tp", 0),
        ("splits", "test", "threshold_table", "malignant", "fn", 2),
        ("splits", "test", "threshold_table", "malignant", "fp", 3),
        ("splits", "test-busbra", "subgroups", "lesion_share", "5 to 15%", "sensitivity", "of"),
        ("splits", "test-busbra", "without_near_duplicates", "n"),
        ("splits", "test-busbra", "explanation", "faithfulness", "maps", "Grad-CAM", "drop", "value"),
        ("splits", "test-busbra", "explanation", "location", "maps", "Grad-CAM", "right", "n"),
        ("splits", "test-busbra", "robustness", "pictures", "all", "flipped", "interval", 1),
    ],
)
def test_every_kind_of_number_is_compared(content: dict[str, Any], path: tuple[Any, ...]) -> None:
    def more(value: Any) -> Any:
        return value + "0" if isinstance(value, str) else value + (0.0002 if isinstance(value, float) else 1)

    changed = changed_at(content, path, more)
    found = list(check.compare_evaluations(changed, content))
    assert len(found) == 1
    assert found[0].startswith("evaluation.json." + ".".join(str(key) for key in path[:2]))
    assert list(check.compare_evaluations(content, changed)), "the other way round too"


def test_an_entry_of_one_side_alone_is_named(content: dict[str, Any]) -> None:
    without = copy.deepcopy(content)
    del without["external"]["breast_usg"]
    assert list(check.compare_evaluations(content, without)) == [
        "evaluation.json.external.breast_usg: published, but not derived again."
    ]
    assert list(check.compare_evaluations(without, content)) == [
        "evaluation.json.external.breast_usg: derived, but not published."
    ]


def test_float_noise_is_no_difference_even_where_it_parts_ties() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.random(200).round(2), rng.random(200) < 0.3
    noisy = scores + rng.normal(0, 1e-6, 200)
    one, other = (thresholds.threshold_table(s.tolist(), positive.tolist()) for s in (scores, noisy))
    assert len(one["threshold"]) < len(other["threshold"])
    assert list(check.compare_evaluations({"t": one, "auc": 0.8}, {"t": other, "auc": 0.80005})) == []
    assert len(
        list(
            check.compare_evaluations(
                {"t": one}, {"t": thresholds.threshold_table([*scores[1:], 0.5], positive.tolist())}
            )
        )
    )


def test_the_cards_of_an_embedded_checkpoint_are_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded = checkpoint_info.EMBEDDED / "breastmnist"
    monkeypatch.setattr(card, "ROOT", tmp_path)
    (tmp_path / "model_card.md").write_text(card.model_card_text().replace("Brier score | 0.", "Brier score | 1.", 1))
    readme = (checkpoint_info.EMBEDDED.parent / "README.md").read_text()
    (tmp_path / "README.md").write_text(readme.replace("| BreastMNIST, n = 156 | 0.", "| BreastMNIST, n = 156 | 1.", 1))
    found = list(check.compare_cards(embedded))
    assert [line.split(",")[0].rsplit("/", 1)[1] for line in found] == ["model_card.md", "README.md"]
    elsewhere = shutil.copytree(embedded, tmp_path / "breastmnist")
    assert list(check.compare_cards(elsewhere)) == []
    (elsewhere / "README.md").unlink()
    assert list(check.compare_cards(elsewhere)) == [f"{elsewhere / 'README.md'} is missing."]


def test_without_an_evaluation_there_is_nothing_to_check(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = synthetic_checkpoints.trained(tmp_path / "new", "breastmnist", data)
    assert evaluate.main(["--check", str(folder), "--data", str(data)]) == 1
    assert capsys.readouterr().err == f"{folder} has no evaluation.json to check.\n"
