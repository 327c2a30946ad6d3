"""Each method of training on its own: losses, augmentation, order and sampling, learning rates and updates."""

import copy
import itertools
import math
import random
from collections import Counter
from typing import Any, cast

import albumentations as A
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from src.models import checkpoints
from src.models.networks import Network
from src.tasks import TASKS
from tests.support.tiny_recipe import recipe_of
from train.training import artefacts, losses, optimisation
from train.training import augmentation as augment
from train.training import recipe as recipes
from train.training.dataset import Batches, Order, TrainingSet


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


def parts(transform: A.BaseCompose | A.BasicTransform) -> list[A.BasicTransform]:
    """The single transforms that a pipeline is made of."""
    if isinstance(transform, A.BasicTransform):
        return [transform]
    return [part for inner in transform.transforms for part in parts(inner)]


SINGLE = {
    type(part).__name__: part for build in augment.PIPELINES.values() for whole in build(64) for part in parts(whole)
}


def test_the_pipelines_have_what_they_should() -> None:
    assert len(SINGLE) >= 15
    assert {"CLAHE", "ElasticTransform", "GridDistortion", "CoarseDropout", "Hairs", "Callipers"} <= set(SINGLE)


@pytest.mark.parametrize("name", sorted(set(SINGLE) - {"Resize"}))
def test_each_transform_changes_the_picture_on_its_own(name: str) -> None:
    steps = np.linspace(60, 180, 64)
    image = np.stack([steps[:, None] + 0 * steps, steps[None] + 0 * steps[:, None], np.full((64, 64), 90.0)], axis=2)
    image = (image + np.random.default_rng(0).normal(0, 8, image.shape)).astype(np.uint8)
    alone = A.Compose([SINGLE[name]])
    alone.transforms[0].p = 1.0
    changed = []
    for seed in range(8):
        alone.set_random_state(np.random.default_rng(seed), random.Random(seed))
        changed.append(alone(image=image)["image"])
    assert all(a.shape == image.shape and a.dtype == np.uint8 for a in changed)
    # A quarter of the square's symmetries, for instance, may be the picture itself.
    assert sum(not np.array_equal(a, image) for a in changed) >= 6


def test_hairs_are_dark_lines_over_an_untouched_picture() -> None:
    image = np.full((224, 224, 3), 200, dtype=np.uint8)
    drawn = A.Compose([artefacts.Hairs(p=1.0)], seed=0)(image=image)["image"]
    hidden = (drawn < 200).any(axis=2)
    assert 0.001 < hidden.mean() < 0.2
    assert (drawn <= 200).all()
    assert (image == 200).all()


def test_a_round_frame_hides_the_rim_and_leaves_the_middle() -> None:
    image = np.full((128, 128, 3), 200, dtype=np.uint8)
    for seed in range(20):
        framed = A.Compose([artefacts.RoundFrame(p=1.0)], seed=seed)(image=image)["image"]
        assert (framed[56:72, 56:72] == 200).all()
        assert (framed <= 200).all()
    assert (image == 200).all()


def test_a_ruler_lies_beside_the_lesion() -> None:
    image = np.full((224, 224, 3), 120, dtype=np.uint8)
    for seed in range(20):
        ruled = A.Compose([artefacts.Ruler(p=1.0)], seed=seed)(image=image)["image"]
        touched = (ruled != 120).any(axis=2)
        assert 0 < touched.mean() < 0.15
        assert not touched[100:124, 100:124].any()


def test_histology_keeps_the_centre_that_makes_the_label() -> None:
    image = np.zeros((96, 96, 3), dtype=np.uint8)
    image[32:64, 32:64] = 255
    augmentation = augment.Augmentation("histology", 96)
    # The central square takes 11% of the tile; nothing but magnifying may change that.
    assert all((augmentation(image, seed)[40:56, 40:56] > 100).mean() > 0.95 for seed in range(40))


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


def test_a_source_does_not_tell_the_class_where_drawing_balances_both() -> None:
    codes = TASKS["skin"].codes
    mel, nv, df = (codes.index(code) for code in ("mel", "nv", "df"))
    # At home one melanoma in ten; elsewhere every second; dermatofibroma at home alone.
    home, away = 100 * [mel] + 900 * [nv] + 20 * [df], 100 * [mel] + 100 * [nv]
    labels, sources = home + away, len(home) * ["home"] + len(away) * ["away"]
    order = Order(recipe_of(sampling={"weight_power": 1.0, "source_power": 0.5}), labels, codes, sources)
    drawn = Counter((labels[i], sources[i]) for epoch in range(20) for _, i, _ in order.keys(epoch))
    whole = sum(drawn.values())
    assert drawn[df, "home"] / whole == pytest.approx(1 / 3, abs=0.02)
    share = math.sqrt(1020) / (math.sqrt(1020) + math.sqrt(200))
    for label in (mel, nv):
        of_class = drawn[label, "home"] + drawn[label, "away"]
        assert of_class / whole == pytest.approx(1 / 3, abs=0.02)
        assert drawn[label, "home"] / of_class == pytest.approx(share, abs=0.02)
    assert (df, "away") not in drawn


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
    network = checkpoints.build("tf_efficientnetv2_b0", 7, 3)
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
