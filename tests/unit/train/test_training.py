"""The whole trainer on made-up data: train, kill, resume, two processes, evaluate."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from src.models import checkpoints
from src.models.predictor import Predictor
from src.results.formatting import with_interval
from tests.support.short_evaluation import shorten
from tests.support.tiny_recipe import TINY, run
from train import card, evaluate
from train.data import load
from train.training import classifier, loop, losses
from train.training import recipe as recipes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    assert run(folder / "tiny.yaml", data, folder / "out") == 0
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        assert evaluate.main([str(folder / "out"), "--data", str(data)]) == 0
    return folder / "out"


def test_a_run_ends_with_a_checkpoint_folder_that_serves(trained: Path, data: Path) -> None:
    config = json.loads((trained / "config.json").read_text())
    lines = [json.loads(line) for line in (trained / "training" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert config["vigil"]["history"] == lines
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]
    checkpoint = checkpoints.load("histopathology", trained)
    test = [sample for sample in load("histopathology", data) if sample.split == "test"]
    answers = [Predictor(checkpoint).predict(sample.picture()) for sample in test]
    # The made-up classes differ in hue: whoever learned anything tells them apart.
    right = [answer.top == sample.label for answer, sample in zip(answers, test, strict=True)]
    assert np.mean(right) > 0.8


def test_evaluation_holds_what_the_page_and_the_cards_need(trained: Path, data: Path) -> None:
    content = json.loads((trained / "evaluation.json").read_text())
    config = json.loads((trained / "config.json").read_text())
    assert content["weights_sha256"] == config["vigil"]["sha256"]
    assert set(content["splits"]) == {"validation", "test"}
    test = content["splits"]["test"]
    truth = [sample.label for sample in load("histopathology", data) if sample.split == "test"]
    assert test["n"] == len(truth) == sum(test["n_per_class"].values())
    assert [sum(row) for row in test["confusion_matrix"]] == [truth.count(0), truth.count(1)]
    table = test["threshold_table"]["malignant"]
    assert {a + b + c + d for a, b, c, d in zip(table["tp"], table["fp"], table["tn"], table["fn"], strict=True)} == {
        len(truth)
    }
    low, high = test["metrics"]["auc_malignant"]["interval"]
    assert low <= test["metrics"]["auc_malignant"]["value"] <= high
    assert sum(row["n"] for row in test["calibration"]) == len(truth)
    drawn = {file.name for file in (trained / "figures").iterdir()}
    for name in ("roc", "precision-recall", "confusion", "reliability"):
        assert f"test-{name}.png" in drawn
    assert "learning-curves.png" in drawn


@pytest.mark.usefixtures("short_evaluation")
def test_evaluated_again_the_same_numbers_come_out(trained: Path, data: Path) -> None:
    before = (trained / "evaluation.json").read_bytes()
    assert evaluate.main([str(trained), "--data", str(data)]) == 0
    assert (trained / "evaluation.json").read_bytes() == before


def test_the_card_says_what_was_found(trained: Path) -> None:
    text = (trained / "README.md").read_text()
    config, figures = card.read_folder(trained)
    assert text.startswith("---\n")
    metadata = yaml.safe_load(text.split("---")[1])
    assert metadata["license"] == "cc0-1.0"
    assert metadata["library_name"] == "timm"
    assert with_interval(figures.splits["test"].metrics["auc_malignant"]) in text
    assert config["vigil"]["sha256"][:12] in text


def test_the_same_seed_gives_the_same_weights(trained: Path, data: Path, recipe_file: Path, tmp_path: Path) -> None:
    assert run(recipe_file, data, tmp_path / "again") == 0
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


class KilledError(Exception):
    """What stands in for a kill in the middle of an epoch."""


def test_killed_in_an_epoch_and_resumed_it_ends_the_same(
    trained: Path, data: Path, recipe_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    with pytest.MonkeyPatch.context() as patch:
        forward, calls = losses.FocalLoss.forward, 0

        def dying(self: losses.FocalLoss, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if calls == batches + 2:
                raise KilledError
            return forward(self, logits, labels)

        training = [sample for sample in load("histopathology", data) if sample.split == "train"]
        batches = len(training) // TINY["batch_size"]
        patch.setattr(losses.FocalLoss, "forward", dying)
        with pytest.raises(KilledError):
            run(recipe_file, data, out)
    assert len((out / "training" / "metrics.jsonl").read_text().splitlines()) == 1
    assert run(recipe_file, data, out) == 1, "going on by accident would mix two runs"
    assert run(recipe_file, data, out, "--resume") == 0
    assert (out / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def command(recipe: Path, data: Path, out: Path, *more: str) -> list[str]:
    return ["-m", "train", str(recipe), "--data", str(data), "--out", str(out), "--workers", "0", *more]


def test_killed_by_the_system_and_resumed_it_ends_the_same(
    trained: Path, data: Path, recipe_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    first_epoch = out / "training" / "metrics.jsonl"
    process = subprocess.Popen(
        [sys.executable, *command(recipe_file, data, out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while not first_epoch.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL, "the run was over before it could be killed"
    assert run(recipe_file, data, out, "--resume") == 0
    assert (out / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_two_processes_learn_as_one(data: Path, tmp_path: Path) -> None:
    # No dropout and no batch statistics: what the processes share must come out the same but for rounding.
    recipe = TINY | {
        "task": "breastmnist",
        "architecture": "vigil_linear28",
        "sources": ["breastmnist"],
        "image_size": 28,
        "channels": 1,
        "mean": [0.5],
        "std": [0.25],
        "augmentation": "ultrasound-28",
        "batch_size": 2,
    }
    file = tmp_path / "linear.yaml"
    file.write_text(yaml.safe_dump(recipe))
    assert run(file, data, tmp_path / "one") == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    # Gloo looks the machine's own name up, which need not resolve.
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    subprocess.run([*torchrun, *command(file, data, tmp_path / "two")], check=True, timeout=180, env=environment)
    one, two = (
        json.loads((tmp_path / name / "config.json").read_text())["vigil"]["history"] for name in ("one", "two")
    )
    # A processor with bfloat16 rounds to 3 digits: losses differ by up to 0.0006 of themselves. Two processes that keep
    # their gradients to themselves differ by 0.02 in the first epoch and 0.3 in the last.
    assert [row["train_loss"] for row in two] == pytest.approx([row["train_loss"] for row in one], rel=2e-3)
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], rel=2e-3)


def test_missing_data_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("skin", tmp_path, tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "HAM10000" in said
    assert "Traceback" not in said


def test_weights_of_another_network_are_refused(trained: Path) -> None:
    skin = recipes.Recipe.model_validate(TINY | {"architecture": "tf_efficientnetv2_b0"})
    with pytest.raises(loop.TrainingError, match="does not fit"):
        classifier.start(skin, str(trained / "model.safetensors"))
