"""Cross-validation: folds do not divide groups, members are calibrated out of fold, sources are left out in turn."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from src.models import checkpoints
from src.models.evaluation import parse
from src.models.predictor import Predictor
from src.tasks import TASKS
from tests.support.tiny_recipe import TINY
from train import evaluate, leave_out, members
from train.cards import findings
from train.data import leaks, load, split_hash, splits
from train.training import recipe as recipes

SMALL: dict[str, Any] = TINY | {
    "task": "ultrasound",
    "architecture": "vigil_cnn28",
    "sources": ["busi", "busbra", "multirez"],
    "channels": 1,
    "mean": [0.5],
    "std": [0.25],
    "image_size": 28,
    "epochs": 2,
    "augmentation": "ultrasound-28",
}


def recipe_file(folder: Path, **changes: Any) -> str:
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(SMALL | changes))
    return str(file)


def test_folds_keep_groups_whole_and_touch_no_test_picture(data: Path) -> None:
    samples = load("ultrasound", data)
    folds = splits.folded(samples, 5)
    assert len(folds) == 5
    seen: Counter[tuple[str, str]] = Counter()
    for fold in folds:
        assert leaks(fold) == []
        assert [(s.name, s.label) for s in fold] == [(s.name, s.label) for s in samples]
        assert all((a.split == "test") == (b.split == "test") for a, b in zip(fold, samples, strict=True))
        seen.update((s.source, s.name) for s in fold if s.split == "validation")
    rest = [sample for sample in samples if sample.split != "test"]
    assert seen == Counter((s.source, s.name) for s in rest), "each picture is held out once"
    shares = [sum(s.split == "validation" for s in fold) / len(rest) for fold in folds]
    assert max(shares) - min(shares) < 0.1
    shuffled = splits.folded(list(reversed(samples)), 5)
    assert [{s.name for s in f if s.split == "validation"} for f in shuffled] == [
        {s.name for s in f if s.split == "validation"} for f in folds
    ]
    with pytest.raises(ValueError, match="cannot make 1 folds"):
        splits.folded(samples, 1)


@pytest.mark.slow
@pytest.mark.usefixtures("short_evaluation")
def test_members_are_calibrated_by_what_they_did_not_learn_from(
    evaluated: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "members"
    arguments = [recipe_file(tmp_path), "--data", str(data), "--out", str(out), "--folds", "2", "--workers", "0"]
    assert members.main(arguments) == 0
    assert "0.95 sensitivity: " in capsys.readouterr().out
    result = json.loads((out / "members.json").read_text())
    samples = load("ultrasound", data)
    rest = [sample for sample in samples if sample.split != "test"]
    assert result["default_threshold"] == TASKS["ultrasound"].default_threshold
    assert sum(fold["n"] for fold in result["by_fold"].values()) == len(rest) == result["n"]
    assert sum(source["n"] for source in result["by_source"].values()) == len(rest)
    # The second fold's logits are its own member's, before any calibration.
    held_out = [s for s in splits.folded(samples, 2)[1] if s.split == "validation"]
    with np.load(out / "fold-1" / "training" / "out_of_fold.npz") as stored:
        kept = stored["logits"]
    own = Predictor(checkpoints.load("ultrasound", out / "fold-1")).predict(held_out[3].picture())
    np.testing.assert_allclose(kept[3], own.logits, atol=1e-4)
    vigil, _, own_samples = evaluate.open_run(out / "fold-1", data)
    assert vigil["recipe"]["select_by"] == "last"
    assert [s.name for s in own_samples if s.split == "validation"] == [s.name for s in held_out]
    assert split_hash(own_samples) == vigil["split_sha256"], "it is evaluated on the split that it was trained on"
    before = (out / "fold-0" / "model.safetensors").stat().st_mtime_ns
    folder = tmp_path / "released"
    assert members.main([*arguments, "--into", str(folder)]) == 1, "nothing to write into"
    shutil.copytree(evaluated, folder)
    assert members.main([*arguments, "--into", str(folder)]) == 0, "a finished run goes through again"
    assert json.loads((folder / "evaluation.json").read_text())["out_of_fold"] == result
    assert "The recipe `small` was cross-validated on the" in (folder / "README.md").read_text()
    assert (out / "fold-0" / "model.safetensors").stat().st_mtime_ns == before
    assert members.main([*arguments[:-4], "--folds", "3", "--workers", "0"]) == 1, "other folds, same folder"


def test_out_of_fold_calibration_by_hand(data: Path) -> None:
    samples = [s for s in load("skin", data) if s.split != "test"]
    recipe = recipes.load("skin-sources")
    assert isinstance(recipe, recipes.Recipe)
    labels = np.array([s.label for s in samples])
    logits = np.random.default_rng(0).normal(0, 1, (len(samples), 7)) + 3 * np.eye(7)[labels]
    result = members.evaluate_members(recipe, samples, logits, [i % 2 for i in range(len(samples))])
    shifted = members.evaluate_members(recipe, samples, 2 * logits + np.arange(7), [0] * len(samples))
    assert shifted["temperature"] == pytest.approx(2 * result["temperature"], rel=0.02)
    for source in ("ham10000", "isic2017", "acral"):
        rows = [i for i, s in enumerate(samples) if s.source == source and s.label == 4]
        scaled = (logits[rows] + result["bias"]) / result["temperature"]
        p = np.exp(scaled) / np.exp(scaled).sum(axis=1, keepdims=True)
        assert (p[:, [0, 1, 4]].sum(axis=1) >= result["default_threshold"]).mean() >= 0.95


def test_a_left_out_source_is_not_learned_from_nor_its_test_split_read(data: Path) -> None:
    samples = load("ultrasound", data)
    rest, read = leave_out.split_off(samples, "busbra")
    assert {s.source for s in rest} == {"busi", "multirez"}
    assert {s.split for s in read} == {"external"}
    held_back = {s.name for s in samples if s.source == "busbra" and s.split == "test"}
    assert held_back
    assert not held_back & {s.name for s in read}
    assert len(read) + len(held_back) == sum(s.source == "busbra" for s in samples)


@pytest.mark.slow
@pytest.mark.usefixtures("short_evaluation")
def test_leave_out_fills_the_table_of_the_checkpoint_and_its_card(
    evaluated: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "released"
    shutil.copytree(evaluated, folder)
    arguments = [recipe_file(tmp_path), "--data", str(data), "--out", str(tmp_path / "left"), "--workers", "0"]
    assert leave_out.main([*arguments, "--only", "multirez", "--into", str(tmp_path)]) == 1, "nothing to write into"
    assert "Train and evaluate first" in capsys.readouterr().err
    assert leave_out.main([*arguments, "--only", "pcam"]) == 1
    assert "busi, busbra, multirez" in capsys.readouterr().err
    leave_out_entry(data, tmp_path)
    before = json.loads((folder / "evaluation.json").read_text())
    assert leave_out.main([*arguments, "--only", "multirez", "--into", str(folder)]) == 0
    assert "multirez, left out" in capsys.readouterr().out
    after = json.loads((folder / "evaluation.json").read_text())
    assert after["left_out"].keys() == {"multirez"}
    assert after["left_out"]["multirez"]["recipe"] == "small"
    assert {key: after[key] for key in before} == before
    card = (folder / "README.md").read_text()
    assert "Multi-REZ (n = " in card
    assert "| `small` | BUSI; BUS-BRA |" in card
    assert findings.left_out_section(parse(before), TASKS["ultrasound"]) == ""


@pytest.mark.slow
def test_networks_of_several_recipes_are_left_out_together(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = [recipe_file(tmp_path, seed=0, name="first"), str(tmp_path / "second.yaml")]
    Path(both[1]).write_text(yaml.safe_dump(SMALL | {"seed": 1, "name": "second"}))
    out = tmp_path / "left"
    arguments = [*both, "--data", str(data), "--out", str(out), "--workers", "0", "--only", "multirez"]
    assert leave_out.main(arguments) == 0
    assert "multirez, left out" in capsys.readouterr().out
    config = json.loads((out / "multirez" / "config.json").read_text())
    assert config["vigil"]["recipe"]["sources"] == ["busi", "busbra"]
    assert [member["name"] for member in config["vigil"]["members"]] == ["second"]
    Path(both[1]).write_text(yaml.safe_dump(SMALL | {"image_size": 32}))
    assert leave_out.main(arguments) == 1
    assert "they differ in image_size" in capsys.readouterr().err


def leave_out_entry(data: Path, tmp_path: Path) -> dict[str, Any]:
    recipe = recipes.load(recipe_file(tmp_path))
    assert isinstance(recipe, recipes.Recipe)
    samples = load("ultrasound", data)
    start = leave_out.learning.Start(workers=0)
    found = leave_out.leave_out([recipe], samples, "multirez", data, tmp_path / "left" / "multirez", start)
    assert found["n"] == sum(s.source == "multirez" and s.split != "test" for s in samples)
    assert found["learned_from"] == ["BUSI", "BUS-BRA"]
    assert found["refused"].keys() == found["unlike"].keys() == {"value", "interval"}
    return found
