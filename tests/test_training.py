"""The trainer's rooms one by one, and the whole command on made-up data: train, kill, resume, evaluate."""

import copy
import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml

from src import weights
from src.networks import Network
from src.predictor import Predictor
from src.tasks import TASKS
from tests import made_up
from train import __main__ as train_command
from train import augment, card, classifier, evaluate, loop, losses, metrics, optimisation, speed
from train import recipe as recipes
from train.classifier import Classification
from train.data import SOURCES, leaks, load
from train.dataset import Batches, Order, TrainingSet
from train.distributed import Processes

TINY: dict[str, Any] = {
    "task": "histopathology",
    "name": "Tiny",
    "architecture": "vigil_attention_cnn96",
    "sources": ["pcam"],
    "image_size": 96,
    "epochs": 3,
    "batch_size": 8,
    "augmentation": "histology",
    "loss": {"gamma": 2.0},
    "optimiser": {"lr": 1e-3, "warmup_epochs": 0.5},
    "ema_decay": 0.5,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up.everything(tmp_path_factory.mktemp("data"))


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(TINY))
    return file


def run(recipe: Path | str, data: Path, out: Path, *more: str) -> int:
    return train_command.main([str(recipe), "--data", str(data), "--out", str(out), "--workers", "0", *more])


def test_every_recipe_is_valid_and_its_parts_exist() -> None:
    files = sorted(recipes.RECIPES.glob("*.yaml"))
    assert {"skin", "ultrasound", "breastmnist", "breastmnist-logistic", "histopathology"} <= {f.stem for f in files}
    for file in files:
        recipe = recipes.load(file.stem)
        assert file.read_text().startswith("# "), "a recipe's header says what it is and how to run it"
        assert f"python -m train {file.stem} " in file.read_text()
        assert set(recipe.sources) <= set(SOURCES)
        if isinstance(recipe, recipes.Run):
            augment.Augmentation(recipe.augmentation, recipe.train_size or recipe.image_size)
        if isinstance(recipe, recipes.Recipe):
            weights.build(recipe.architecture, classifier.outputs(recipe.task, recipe.architecture), recipe.channels)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"learning_rate": 1}, "learning_rate"),
        ({"epochs": 0}, "epochs"),
        ({"task": "lungs"}, "task"),
        ({"refer_at_least": 0.9}, "refer_at_least"),
        ({"mean": [0.5]}, "mean and std"),
        ({"optimiser": {"lr": math.nan}}, "optimiser.lr"),
        ({"optimiser": {"lr": 1, "backbone_lr": 1, "layer_decay": 0.9}}, "backbone_lr"),
        ({"sampling": {"weight_power": 1, "copies": "balance"}}, "weight_power"),
        ({"sampling": {"copies": {"melanoma": 2}}}, "melanoma"),
        ({"loss": {"auxiliary": 0.4}}, "auxiliary"),
        ({"first_train_size": 128}, "first_train_size"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump(TINY | change))
    with pytest.raises(recipes.RecipeError, match=named):
        recipes.load(str(file))


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(recipes.RecipeError, match="breastmnist-logistic"):
        recipes.load("skni")


def test_focal_loss_without_focus_is_cross_entropy() -> None:
    logits, labels = torch.randn(32, 5), torch.randint(0, 5, (32,))
    assert torch.allclose(losses.FocalLoss(0)(logits, labels), F.cross_entropy(logits, labels))
    smooth = losses.FocalLoss(0, label_smoothing=0.1)(logits, labels)
    assert torch.allclose(smooth, F.cross_entropy(logits, labels, label_smoothing=0.1))


def test_focal_loss_by_hand() -> None:
    # p of the true class 0.8 and 0.4: -(1 - p)^2 log p, weighted 3 and 1
    logits = torch.tensor([[math.log(4.0), 0.0], [math.log(1.5), 0.0]])
    expected = (3 * 0.2**2 * -math.log(0.8) + 1 * 0.6**2 * -math.log(0.4)) / 2
    loss = losses.FocalLoss(2, torch.tensor([3.0, 1.0]))(logits, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_focal_loss_has_finite_gradients_where_the_answer_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    losses.FocalLoss(gamma)(logits, torch.tensor([0, 0])).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_class_weights_by_hand() -> None:
    labels = [0] * 8 + [1] * 2
    assert losses.class_weights(labels, 3, 0.0).tolist() == [1, 1, 0]
    inverse = losses.class_weights(labels, 3, 1.0)
    assert inverse[1] / inverse[0] == pytest.approx(4)
    assert inverse[torch.tensor(labels)].mean() == pytest.approx(1)


@pytest.mark.parametrize("name", sorted(augment.PIPELINES))
def test_augmentation_depends_on_its_seed_alone_and_changes_the_picture(name: str) -> None:
    channels = 1 if name == "ultrasound-28" else 3
    image = np.random.default_rng(0).integers(0, 256, (40, 50, channels), dtype=np.uint8)
    augmentation = augment.Augmentation(name, 28)
    first = [augmentation(image, seed) for seed in range(6)]
    again = [augment.Augmentation(name, 28)(image, seed) for seed in reversed(range(6))][::-1]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert all(a.shape == (28, 28, channels) and a.dtype == np.uint8 for a in first)
    assert len({a.tobytes() for a in first}) == 6


def test_histology_keeps_the_centre_that_makes_the_label() -> None:
    image = np.zeros((96, 96, 3), dtype=np.uint8)
    image[32:64, 32:64] = 255
    augmentation = augment.Augmentation("histology", 96)
    # The central square takes 11% of the tile; nothing but magnifying may change that.
    assert all((augmentation(image, seed)[40:56, 40:56] > 100).mean() > 0.95 for seed in range(40))


def recipe_of(**changes: Any) -> recipes.Recipe:
    return recipes.Recipe.model_validate(TINY | changes)


PRECISION = loop.Precision(torch.device("cpu"), None)


def some_pictures(recipe: recipes.Recipe, number: int = 24) -> TrainingSet:
    arrays = [np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8) for i in range(number)]
    return TrainingSet(arrays, list(range(number)), recipe)


def test_batches_are_the_same_whatever_the_number_of_workers() -> None:
    recipe = recipe_of(image_size=32, epochs=2, seed=1, augmentation="dermatoscopy")
    pictures = some_pictures(recipe)
    order = Order(recipe, 12 * [0, 1], TASKS["histopathology"].codes)

    def all_of(workers: int) -> list[torch.Tensor]:
        return [part for batch in pictures.loader(Batches(order, recipe, 0), workers) for part in batch]

    alone = all_of(0)
    assert all(torch.equal(a, b) for a, b in zip(alone, all_of(2), strict=True))
    # three batches an epoch, pictures and labels: the second epoch is another one
    assert not any(torch.equal(a, b) for a, b in zip(alone[:6], alone[6:], strict=True))


def test_processes_share_out_each_batch() -> None:
    recipe = recipe_of(epochs=2)
    order = Order(recipe, 12 * [0, 1], TASKS["histopathology"].codes)
    whole = list(Batches(order, recipe, 1))
    shares = [list(Batches(order, recipe, 1, rank, 2)) for rank in (0, 1)]
    assert [len(batch) for batch in whole] == [8, 8, 8]
    assert all(sorted(a + b) == sorted(batch) for batch, a, b in zip(whole, *shares, strict=True))
    assert all(len(a) == len(b) for a, b in zip(*shares, strict=True))


def test_pictures_grow_from_epoch_to_epoch() -> None:
    recipe = recipe_of(image_size=224, train_size=192, first_train_size=128, epochs=5)
    assert [recipe.size_in(epoch) for epoch in range(5)] == [128, 128, 160, 192, 192]
    assert recipe_of(image_size=96, train_size=80).size_in(0) == 80
    pictures = some_pictures(recipe_of(augmentation="dermatoscopy", image_size=64, first_train_size=32, epochs=2))
    assert [pictures[epoch, 0, 0][0].shape for epoch in (0, 1)] == [(3, 32, 32), (3, 64, 64)]


LABELS = 9 * [0] + 3 * [1]


def test_copies_balance_the_classes_and_each_is_augmented_on_its_own() -> None:
    codes = TASKS["histopathology"].codes
    order = Order(recipe_of(sampling={"copies": "balance"}), LABELS, codes)
    drawn = Counter(LABELS[index] for _, index, _ in order.keys(0))
    assert drawn == {0: 9, 1: 9}
    uneven = Order(recipe_of(sampling={"copies": "balance"}), 8 * [0] + 3 * [1], codes)
    assert Counter(index > 7 for _, index, _ in uneven.keys(0)) == {False: 8, True: 8}
    doubled = Order(recipe_of(sampling={"copies": {"metastatic": 2}}), LABELS, codes)
    keys = doubled.keys(0)
    assert Counter(LABELS[index] for _, index, _ in keys) == {0: 9, 1: 6}
    copies = [key for key in keys if key[1] == 10]
    assert [copy for _, _, copy in copies] == [0, 1]
    pictures = some_pictures(recipe_of(augmentation="dermatoscopy", image_size=32))
    assert not torch.equal(pictures[copies[0]][0], pictures[copies[1]][0])


def test_weighted_sampling_draws_every_class_alike() -> None:
    codes = TASKS["histopathology"].codes
    order = Order(recipe_of(sampling={"weight_power": 1.0}), 40 * LABELS, codes)
    rare = sum((40 * LABELS)[index] for epoch in range(10) for _, index, _ in order.keys(epoch)) / (10 * len(order))
    assert rare == pytest.approx(0.5, abs=0.03)  # five standard errors at 4,800 draws are 0.036
    assert len(order.keys(0)) == 40 * len(LABELS)
    assert order.keys(0) == order.keys(0) != order.keys(1)


def test_without_a_setting_each_picture_comes_once() -> None:
    order = Order(recipe_of(), LABELS, TASKS["histopathology"].codes)
    assert sorted(index for _, index, _ in order.keys(3)) == list(range(12))


def test_focal_and_cross_entropy_together_by_hand() -> None:
    # p of the true class 0.8 and 0.4: -(0.7 (1 - p)^2 + 0.5) log p
    logits = torch.tensor([[math.log(4.0), 0.0], [math.log(1.5), 0.0]])
    expected = ((0.7 * 0.2**2 + 0.5) * -math.log(0.8) + (0.7 * 0.6**2 + 0.5) * -math.log(0.4)) / 2
    loss = losses.FocalLoss(2, alpha=0.7, cross_entropy=0.5)(logits, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def settings_of(**changes: Any) -> recipes.Optimiser:
    return recipes.Optimiser.model_validate({"lr": 1e-3} | changes)


def learning_rates(settings: recipes.Optimiser, updates: int, done: int = 0, state: Any = None) -> tuple[Any, Any]:
    """(learning rate of the last group for each update from `done` on, the optimiser's state after half of all)."""
    network = torch.nn.Linear(2, 2)
    optimiser = optimisation.adamw(cast(Network, network), settings)
    if state is not None:
        optimiser.load_state_dict(state)
    set_rates = optimisation.schedule(optimiser, settings, updates, updates // 4, done)
    rates = []
    middle: Any = None
    for update in range(done, updates):
        set_rates(update)
        rates.append(optimiser.param_groups[-1]["lr"])
        network(torch.ones(1, 2)).sum().backward()
        optimiser.step()
        if update == updates // 2 - 1:
            middle = copy.deepcopy(optimiser.state_dict())
    return rates, middle


@pytest.mark.parametrize("schedule", ["cosine", "onecycle"])
def test_learning_rates_rise_and_fall_and_go_on_after_resuming(schedule: str) -> None:
    settings = settings_of(schedule=schedule)
    whole, middle = learning_rates(settings, 40)
    top = int(np.argmax(whole))
    assert whole[top] == pytest.approx(1e-3, rel=0.2)
    assert 8 <= top <= 11
    assert whole[0] < 0.1 * whole[top] > whole[-1]
    assert all(a < b for a, b in itertools.pairwise(whole[: top + 1]))
    assert all(a > b for a, b in itertools.pairwise(whole[top:]))
    assert learning_rates(settings, 40, 20, middle)[0] == pytest.approx(whole[20:])


def test_one_cycle_is_torchs() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    reference = torch.optim.AdamW([parameter], lr=1e-3)
    cycle = torch.optim.lr_scheduler.OneCycleLR(reference, 1e-3, total_steps=40, pct_start=0.25)
    expected = []
    for _ in range(40):
        expected.append(reference.param_groups[0]["lr"])
        reference.step()
        if len(expected) < 40:
            cycle.step()
    assert learning_rates(settings_of(schedule="onecycle"), 40)[0] == pytest.approx(expected)


def test_the_backbone_learns_at_its_own_rate() -> None:
    network = weights.build("tf_efficientnetv2_b0", 7, 3)
    optimiser = optimisation.adamw(network, settings_of(backbone_lr=1e-5))
    rate = {p: group["lr"] for group in optimiser.param_groups for p in group["params"]}
    decay = {p: group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert set(rate) == set(network.parameters())
    head = set(network.get_classifier().parameters())
    assert {rate[p] for p in head} == {1e-3}
    assert {rate[p] for p in set(rate) - head} == {1e-5}
    assert all((decay[p] > 0) == (p.ndim > 1) for p in rate)
    layered = optimisation.adamw(network, settings_of(layer_decay=0.5))
    scales = [group["lr_scale"] for group in layered.param_groups]
    assert max(scales) == 1 > min(scales)


def test_accumulated_batches_are_one_large_one_and_gradients_are_clipped() -> None:
    pixels, labels = torch.randn(8, 4), torch.tensor(4 * [0, 1])

    def after(accumulate: int, clip: float | None = None) -> torch.Tensor:
        torch.manual_seed(0)
        network = torch.nn.Linear(4, 2)
        before = network.weight.detach().clone()
        optimiser = torch.optim.SGD(network.parameters(), lr=1.0)
        settings = settings_of(accumulate=accumulate, clip_norm=clip)
        updates = optimisation.Updates(network, optimiser, torch.amp.GradScaler("cpu", enabled=False), settings)
        parts = list(zip(pixels.chunk(accumulate), labels.chunk(accumulate), strict=True))
        for number, (part, part_labels) in enumerate(parts, start=1):
            updates.backward(F.cross_entropy(network(part), part_labels), last=number == len(parts))
        return network.weight.detach() - before

    assert torch.allclose(after(1), after(4), atol=1e-6)
    assert after(1).norm() > 0.05
    assert after(1, clip=0.01).norm() <= 0.01 + 1e-6


def test_another_split_keeps_groups_together(data: Path) -> None:
    own, other = load("skin", data), load("skin", data, resplit=5)
    assert not leaks(other)
    assert [sample.name for sample in own] == [sample.name for sample in other]
    assert [sample.split for sample in own] != [sample.split for sample in other]
    assert {sample.split for sample in other} == {"train", "validation", "test"}
    assert [s.split for s in load("skin", data, resplit=5)] == [s.split for s in other]


def test_metrics_against_hand_counts() -> None:
    task = TASKS["ultrasound"]
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.2, 0.1, 0.7]])
    labels = np.array([0, 1, 0, 2])
    found = metrics.point_estimates(task, probabilities, labels)
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert found["auc_malignant"] == 1.0
    assert found["brier"] == pytest.approx((0.2**2 + 0.2**2 + 0.4**2 + 0.1**2) / 4)


def test_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 1.5, (4000, 3))
    p = np.exp(honest) / np.exp(honest).sum(1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in p])
    assert metrics.fit_temperature(honest * 3, labels) == pytest.approx(3, rel=0.1)


def test_bias_and_temperature_undo_a_shifted_prior() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 1.5, (6000, 3))
    p = np.exp(honest) / np.exp(honest).sum(1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in p])
    shift = np.array([1.0, -0.5, -0.5])
    bias = metrics.fit_bias((honest + shift) * 2, labels)
    assert bias == pytest.approx(-shift * 2, abs=0.25)
    assert metrics.fit_temperature((honest + shift) * 2 + bias, labels) == pytest.approx(2, rel=0.1)


def test_bootstrap_draws_whole_groups() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=30), 20)
    groups = np.repeat(np.arange(30), 20).astype(str)
    by_group = metrics.bootstrap(lambda i: {"mean": float(values[i].mean())}, list(groups))["mean"]
    by_row = metrics.bootstrap(lambda i: {"mean": float(values[i].mean())}, [str(i) for i in range(600)])["mean"]
    # Twenty copies of a value say no more than one: the interval is about sqrt(20) times as wide.
    assert 2.5 < (by_group[1] - by_group[0]) / (by_row[1] - by_row[0]) < 7


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
    checkpoint = weights.load("histopathology", trained)
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
    config, evaluation = card.read(trained)
    assert text.startswith("---\n")
    metadata = yaml.safe_load(text.split("---")[1])
    assert metadata["license"] == "cc0-1.0"
    assert metadata["library_name"] == "timm"
    assert card.figure(evaluation["splits"]["test"]["metrics"]["auc_malignant"]) in text
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
    assert [row["train_loss"] for row in two] == pytest.approx([row["train_loss"] for row in one], rel=1e-4)
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], rel=1e-4)


def test_batches_that_cannot_be_shared_out_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(loop.TrainingError, match="3 processes"):
        loop.run(
            Classification(recipe_of(), load("histopathology", data)), tmp_path, PRECISION, processes=Processes(0, 3)
        )


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
        network: Any = weights.build("tf_efficientnetv2_b0", 2, 3)
        network.set_grad_checkpointing(checkpointing)
        network.train()(torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)).sum().backward()
        gradients.append(network.conv_stem.weight.grad)
    plain, checkpointed = gradients
    assert torch.allclose(plain, checkpointed, rtol=1e-4, atol=1e-6)


def test_the_baseline_is_scikit_learns_and_serves(data: Path, tmp_path: Path) -> None:
    assert run("breastmnist-logistic", data, tmp_path / "out") == 0
    checkpoint = weights.load("breastmnist", tmp_path / "out")
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
    predictor = Predictor(weights.load("skin", tmp_path / "out"))
    melanomas = [
        s for s in load("skin", data) if s.split == "validation" and s.label == TASKS["skin"].codes.index("mel")
    ]
    threshold = predictor.checkpoint.config.vigil.default_threshold
    assert all(predictor.predict(sample.picture()).p_malignant >= threshold for sample in melanomas)


def test_missing_data_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("skin", tmp_path, tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "HAM10000" in said
    assert "Traceback" not in said


def test_weights_of_another_network_are_refused(trained: Path) -> None:
    skin = recipes.Recipe.model_validate(TINY | {"architecture": "tf_efficientnetv2_b0"})
    with pytest.raises(loop.TrainingError, match="does not fit"):
        classifier.start(skin, str(trained / "model.safetensors"))


def test_only_named_modules_are_frozen(data: Path, tmp_path: Path) -> None:
    recipe = TINY | {"architecture": "tf_efficientnetv2_b0", "image_size": 64, "epochs": 1, "frozen": ["blocks.0"]}
    validated = recipes.Recipe.model_validate(recipe)
    torch.manual_seed(validated.seed)
    before = classifier.start(validated, "none").state_dict()
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert run(tmp_path / "recipe.yaml", data, tmp_path / "out") == 0
    after = weights.read_tensors(tmp_path / "out" / "training" / "best.safetensors")
    changed = {name for name in before if "running" not in name and not torch.equal(before[name], after[name])}
    assert not any(name.startswith("blocks.0.") and name.endswith("weight") for name in changed)
    assert {"conv_stem.weight", "classifier.weight"} <= changed


def test_speed_is_measured_against_the_same_step(
    data: Path, recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(recipe_file), "--data", str(data), "--rounds", "1", "--batches", "2", "--workers", "0"]
    assert speed.main(arguments) == 0
    found = re.search(r"real run (\d+) images/s, from memory (\d+) images/s, ratio (\d\.\d\d)", capsys.readouterr().out)
    assert found is not None
    assert float(found[3]) == pytest.approx(int(found[1]) / int(found[2]), abs=0.1)
    assert speed.main(["breastmnist-logistic", "--data", str(data)]) == 1
