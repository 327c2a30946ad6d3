"""The whole trainer on made-up data: train, kill, resume, evaluate. test_training_methods.py tests single methods."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from src.models import checkpoints
from src.models.predictor import Predictor
from src.results.formatting import with_interval
from src.tasks import TASKS
from tests.support.tiny_recipe import TINY, recipe_of
from train import __main__ as train_command
from train import card, evaluate, release, speed
from train.data import leaks, load
from train.evaluation import metrics
from train.training import classifier, loop, losses
from train.training import recipe as recipes
from train.training.classifier import Classification
from train.training.distributed import Processes

pytestmark = pytest.mark.slow


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(TINY))
    return file


def run(recipe: Path | str, data: Path, out: Path, *more: str) -> int:
    return train_command.main([str(recipe), "--data", str(data), "--out", str(out), "--workers", "0", *more])


PRECISION = loop.Precision(torch.device("cpu"), None)


def test_another_split_keeps_groups_together(data: Path) -> None:
    own, other = load("skin", data), load("skin", data, resplit=5)
    assert not leaks(other)
    assert [sample.name for sample in own] == [sample.name for sample in other]
    assert [sample.split for sample in own] != [sample.split for sample in other]
    assert {sample.split for sample in other} == {"train", "validation", "test"}
    assert [s.split for s in load("skin", data, resplit=5)] == [s.split for s in other]


@pytest.fixture(scope="module", autouse=True)
def _few_resamples() -> Iterator[None]:
    # A thousand take a minute, and the intervals' width is not what is tested here.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "RESAMPLES", 50)
        yield


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    assert run(folder / "tiny.yaml", data, folder / "out") == 0
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


def test_killed_and_resumed_a_run_ends_as_the_uninterrupted_one(
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


def test_killed_by_the_system_and_resumed_a_run_ends_as_the_uninterrupted_one(
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


def test_batches_that_cannot_be_shared_out_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(loop.TrainingError, match="3 processes"):
        loop.run(
            Classification(recipe_of(), load("histopathology", data)), tmp_path, PRECISION, processes=Processes(0, 3)
        )


@pytest.mark.parametrize(
    ("select_by", "epochs", "chosen"),
    # AUC has its best after the second epoch and does not find a better one in two; the loss falls until the fourth.
    [("auc_malignant", 4, 2), ("loss", 6, 4)],
)
def test_the_best_epoch_is_kept_and_patience_ends_the_run(
    data: Path, tmp_path: Path, select_by: str, epochs: int, chosen: int
) -> None:
    judged = {"auc_malignant": [0.7, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8], "loss": [0.9, 0.8, 0.7, 0.6, 0.65, 0.7, 0.7]}
    kept: list[torch.Tensor] = []

    class Judged(Classification):
        def validate(self, network: nn.Module, *_: Any) -> dict[str, float]:
            kept.append(network.state_dict()["classifier.weight"].clone())
            return {name: values[len(kept) - 1] for name, values in judged.items()}

    recipe = recipe_of(select_by=select_by, epochs=7, patience=2)
    training = [sample for sample in load("histopathology", data) if sample.split == "train"][:8]
    tensors, history = loop.run(Judged(recipe, training, validates=False), tmp_path, PRECISION, workers=0)
    assert len(history) == epochs
    assert torch.equal(tensors["classifier.weight"], kept[chosen - 1])
    assert not torch.equal(tensors["classifier.weight"], kept[-1])


def test_what_is_kept_is_the_average_of_the_weights_and_learning_does_not_know_of_it(
    data: Path, tmp_path: Path
) -> None:
    training = [sample for sample in load("histopathology", data) if sample.split == "train"][:16]
    seen: list[torch.Tensor] = []

    class Watched(Classification):
        def loss(self, answers: Any, targets: torch.Tensor) -> torch.Tensor:
            seen.append(self.network.state_dict()["classifier.weight"].clone())
            return super().loss(answers, targets)

        def validate(self, *_: Any) -> dict[str, float]:
            return {"auc_malignant": 0.5}

    kept, last = {}, {}
    for decay in (0.5, None):
        job, out = Watched(recipe_of(epochs=1, ema_decay=decay), training, validates=False), tmp_path / str(decay)
        kept[decay] = loop.run(job, out, PRECISION, workers=0)[0]["classifier.weight"]
        last[decay] = job.network.state_dict()["classifier.weight"]
    assert torch.equal(last[0.5], last[None])
    assert torch.equal(kept[None], last[None])
    # Two updates: a point on the way from the weights after the first, which `seen` has second, to the last ones.
    way, gone = last[0.5] - seen[1], kept[0.5] - seen[1]
    share = (gone * way).sum() / (way * way).sum()
    assert 0.1 < share < 0.9
    assert torch.allclose(gone, share * way, atol=1e-6)


def test_the_auxiliary_head_and_checkpointed_activations(data: Path, tmp_path: Path) -> None:
    recipe = TINY | {
        "architecture": "vigil_efficientnetv2_m_cbam",
        "image_size": 32,
        "epochs": 1,
        "loss": {"gamma": 2.0, "auxiliary": 0.4},
        "optimiser": {"lr": 1e-4, "backbone_lr": 1e-5, "schedule": "onecycle", "accumulate": 2, "clip_norm": 1.0},
        "gradient_checkpointing": True,
        "test_time_augmentation": "flips",
    }
    training = [s for s in load("histopathology", data) if s.split != "test"][:24]
    samples = [replace(s, split="train" if i < 16 else "validation") for i, s in enumerate(training)]
    validated = recipes.Recipe.model_validate(recipe)
    torch.manual_seed(validated.seed)
    before = classifier.start(validated, "none").state_dict()
    after, history = loop.run(Classification(validated, samples), tmp_path / "out", PRECISION, workers=0)
    assert math.isfinite(history[0]["train_loss"])
    for name in ("auxiliary_classifier.weight", "classifier.weight", "backbone.conv_stem.weight"):
        assert not torch.equal(before[name], after[name]), f"{name} did not learn"


def test_checkpointed_activations_change_no_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        network: Any = checkpoints.build("tf_efficientnetv2_b0", 2, 3)
        network.set_grad_checkpointing(checkpointing)
        network.train()(torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)).sum().backward()
        gradients.append(network.conv_stem.weight.grad)
    plain, checkpointed = gradients
    assert torch.allclose(plain, checkpointed, rtol=1e-4, atol=1e-6)


def test_the_baseline_is_scikit_learns_and_serves(data: Path, tmp_path: Path) -> None:
    assert run("breastmnist-logistic", data, tmp_path / "out") == 0
    checkpoint = checkpoints.load("breastmnist", tmp_path / "out")
    samples = [sample for sample in load("breastmnist", data) if sample.split == "test"]
    scores = np.array([Predictor(checkpoint).predict(sample.picture()).p_malignant for sample in samples])
    # The polarity too: malignant is class 0, and the layer's one logit is that of class 1.
    assert metrics.auc(np.array([sample.label == 0 for sample in samples]), scores) > 0.9


def test_the_default_threshold_of_skin_refers_the_melanomas_of_validation(data: Path, tmp_path: Path) -> None:
    recipe = TINY | {
        "task": "skin",
        "architecture": "tf_efficientnetv2_b0",
        "sources": ["ham10000"],
        "image_size": 64,
        "epochs": 1,
        "augmentation": "dermatoscopy",
        "refer_at_least": 0.95,
        "refer_code": "mel",
        "calibrate_bias": True,
    }
    (tmp_path / "skin.yaml").write_text(yaml.safe_dump(recipe))
    assert run(tmp_path / "skin.yaml", data, tmp_path / "out") == 0
    predictor = Predictor(checkpoints.load("skin", tmp_path / "out"))
    melanomas = [
        s
        for s in load("skin", data, ["ham10000"])
        if s.split == "validation" and s.label == TASKS["skin"].codes.index("mel")
    ]
    threshold = predictor.checkpoint.config.vigil.default_threshold
    assert all(predictor.predict(sample.picture()).p_malignant >= threshold for sample in melanomas)


def test_the_source_that_is_read_worst_chooses_the_default_threshold() -> None:
    home, away = [i / 1000 for i in range(501, 701)], [0.3004, 0.9]
    sources = len(home) * ["home"] + len(away) * ["away"]
    assert release.default_threshold(home, len(home) * ["home"], 0.95) == 0.511
    assert release.default_threshold(home + away, sources, 0.95) == 0.3
    assert release.default_threshold(home + away, sources, 0.5) == 0.601


def test_missing_data_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("skin", tmp_path, tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "HAM10000" in said
    assert "Traceback" not in said


def test_weights_of_another_network_are_refused(trained: Path) -> None:
    skin = recipes.Recipe.model_validate(TINY | {"architecture": "tf_efficientnetv2_b0"})
    with pytest.raises(loop.TrainingError, match="does not fit"):
        classifier.start(skin, str(trained / "model.safetensors"))


def test_pretrained_features_start_with_a_classifier_that_prefers_nothing(tmp_path: Path) -> None:
    recipe = recipes.Recipe.model_validate(TINY | {"architecture": "tf_efficientnetv2_b0"})
    features = classifier.start(recipe, "none")
    save_file(features.state_dict(), tmp_path / "pretrained.safetensors")
    started = classifier.start(recipe, str(tmp_path / "pretrained.safetensors")).eval()
    pictures = torch.linspace(-1, 1, 2 * recipe.channels * 32 * 32).reshape(2, recipe.channels, 32, 32)
    assert not started(pictures).any()
    assert torch.equal(started.state_dict()["conv_stem.weight"], features.state_dict()["conv_stem.weight"])


def test_only_named_modules_are_frozen(data: Path, tmp_path: Path) -> None:
    recipe = TINY | {"architecture": "tf_efficientnetv2_b0", "image_size": 64, "epochs": 1, "frozen": ["blocks.0"]}
    validated = recipes.Recipe.model_validate(recipe)
    torch.manual_seed(validated.seed)
    before = classifier.start(validated, "none").state_dict()
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert run(tmp_path / "recipe.yaml", data, tmp_path / "out") == 0
    after = checkpoints.read_tensors(tmp_path / "out" / "training" / "best.safetensors")
    changed = {name for name in before if "running" not in name and not torch.equal(before[name], after[name])}
    assert not any(name.startswith("blocks.0.") and name.endswith("weight") for name in changed)
    assert {"conv_stem.weight", "classifier.weight"} <= changed


def test_speed_is_measured_against_the_same_step(
    data: Path, recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(recipe_file), "--data", str(data), "--rounds", "1", "--batches", "2", "--workers", "0"]
    assert speed.main(arguments) == 0
    found = re.search(
        r"real loop (\d+) images/s, from memory (\d+) images/s, ratio (\d\.\d\d)", capsys.readouterr().out
    )
    assert found is not None
    assert float(found[3]) == pytest.approx(int(found[1]) / int(found[2]), abs=0.1)
    assert speed.main(["breastmnist-logistic", "--data", str(data)]) == 1
