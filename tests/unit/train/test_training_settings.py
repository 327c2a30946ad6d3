"""What a recipe asks of a run: the epoch that is kept, averaged weights, frozen modules, the default threshold."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from src.models import checkpoints
from src.models.predictor import Predictor
from src.tasks import TASKS
from tests.support.tiny_recipe import TINY, recipe_of, run
from train.data import load
from train.training import classifier, loop
from train.training import recipe as recipes
from train.training.classifier import Classification
from train.training.distributed import Processes

pytestmark = pytest.mark.slow


PRECISION = loop.Precision(torch.device("cpu"), None)


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


def test_the_average_of_the_weights_is_kept_beside_the_learning(data: Path, tmp_path: Path) -> None:
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
    training = [sample for sample in load("histopathology", data) if sample.split == "train"][:16]
    torch.manual_seed(validated.seed)
    before = classifier.start(validated, "none").state_dict()

    class Unjudged(Classification):
        def validate(self, *_: Any) -> dict[str, float]:
            return {"auc_malignant": 0.5}

    after, _ = loop.run(Unjudged(validated, training, validates=False), tmp_path / "out", PRECISION, workers=0)
    changed = {name for name in before if "running" not in name and not torch.equal(before[name], after[name])}
    assert not any(name.startswith("blocks.0.") and name.endswith("weight") for name in changed)
    assert {"conv_stem.weight", "classifier.weight"} <= changed


def test_the_default_threshold_of_skin_refers_the_melanomas_of_validation(data: Path, tmp_path: Path) -> None:
    recipe = TINY | {
        "task": "skin",
        "architecture": "vigil_cnn28",
        "sources": ["ham10000"],
        "image_size": 28,
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
