"""Valid checkpoint folders with seeded random networks, for tests, and ways to damage them.

The networks have learned nothing, but their answers differ from picture to picture and class to class. Knows nothing of
how a checkpoint is read.
"""

import copy
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

from src.models import checkpoints
from src.models.config import GateConfig
from src.models.gate import PICTURE_FEATURES, Gate
from src.results import thresholds
from src.tasks import TASKS
from train.data import SOURCES, load, split_hash
from train.evaluation import metrics
from train.training import recipe as recipes

DEFAULT_ARCHITECTURE = {
    "skin": "tf_efficientnetv2_b0",
    "ultrasound": "tf_efficientnetv2_b0",
    "breastmnist": "vigil_cnn28",
    "histopathology": "vigil_attention_cnn96",
}
# channels and side of the input: fixed for our own networks, small for those of timm
INPUT = {"vigil_cnn28": (1, 28), "vigil_linear28": (1, 28)}
ONE_LOGIT = ("vigil_attention_cnn96", "vigil_linear28")


def network(architecture: str, num_classes: int, channels: int, side: int, seed: int = 0) -> nn.Module:
    """A random network in evaluation mode whose logits have a standard deviation of about 2 over different images."""
    torch.manual_seed(seed)
    model: Any = checkpoints.build(architecture, num_classes, channels)
    # Blotches on differently coloured grounds: batch norm statistics from noise would make all predictions equal.
    ground, blotches = torch.rand(32, channels, 1, 1), torch.rand(32, channels, 4, 4)
    pictures = 0.4 * ground + 0.6 * nn.functional.interpolate(blotches, size=(side, side), mode="bicubic")
    mean, std = normalisation(channels)
    pictures = (pictures - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0  # the running statistics become those of these images
        model.train()(pictures)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            # A channel that is nearly constant over these images would enlarge rounding errors on others.
            variance = norm.get_buffer("running_var")
            variance.clamp_(min=0.3 * variance.mean().item())
        logits, classifier = model.eval()(pictures), model.get_classifier()
        scale = 2 / logits.std(dim=0)
        classifier.weight.mul_(scale[:, None])
        classifier.bias.copy_((classifier.bias - logits.mean(dim=0)) * scale)
    return model


@lru_cache(maxsize=16)
def _weights(
    architecture: str, num_classes: int, channels: int, side: int, seed: int
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights of `network` in float16, and timm's description of it. Many tests write the same few networks."""
    model: Any = network(architecture, num_classes, channels, side, seed)
    tensors = {name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in model.state_dict().items()}
    return tensors, dict(model.pretrained_cfg)


def normalisation(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, for values in 0..1."""
    return ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if channels == 3 else ((0.5,), (0.25,))


def write(folder: Path, task: str, architecture: str | None = None, seed: int = 0, **overrides: Any) -> Path:
    """Write config.json, model.safetensors (float16) and evaluation.json into `folder`; creates and returns it.

    `overrides` replace keys of config.json: in its `vigil` block, in its `pretrained_cfg` or at its top, wherever the
    key stands. `input_size` and `num_classes` shape the network too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    codes = TASKS[task].codes
    architecture = architecture or DEFAULT_ARCHITECTURE[task]
    channels, side = INPUT.get(architecture, (3, 96))
    channels, side, _ = overrides.get("input_size", (channels, side, side))
    num_classes = overrides.get("num_classes", 1 if architecture in ONE_LOGIT and len(codes) == 2 else len(codes))

    tensors, own = _weights(architecture, num_classes, channels, side, seed)
    mean, std = normalisation(channels)
    safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config: dict[str, Any] = {
        "architecture": architecture,
        "num_classes": num_classes,
        "label_names": list(codes),
        "pretrained_cfg": {
            "input_size": (channels, side, side),
            "mean": mean,
            "std": std,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "squash",
            "num_classes": num_classes,
            **{key: own[key] for key in ("first_conv", "classifier", "fixed_input_size")},
        },
        "model_args": {"in_chans": channels},
        "vigil": {
            "task": task,
            "name": f"made-up-{task}",
            "seed": seed,
            "sha256": checkpoints.sha256(folder / "model.safetensors"),
            "temperature": 1.5,
            "test_time_augmentation": "none",
            "default_threshold": TASKS[task].default_threshold or 0.2,
        },
    }
    for key, value in overrides.items():
        blocks = (config["vigil"], config["pretrained_cfg"], config)
        next(block for block in blocks if key in block or block is config)[key] = value
    config["pretrained_cfg"]["num_classes"] = config["num_classes"]
    rewrite(folder / "config.json", config)
    rewrite(folder / "evaluation.json", evaluation(config["vigil"]["sha256"], task, seed))
    return folder


def gate(limit: float) -> Gate:
    """A gate that uses an image's statistics only. As no score is below 0, a `limit` of -1 rejects every image."""
    gaussian = {"features": PICTURE_FEATURES, "axes": 1, "middle": 0.0, "spread": 1.0}
    return Gate(GateConfig.model_validate({"picture": gaussian, "limit": limit, "sha256": "0" * 64})).eval()


def trained(folder: Path, task: str, data: Path, seed: int = 0) -> Path:
    """`write` as `python -m train` leaves a folder: with what it learned from, not evaluated. One small network for any
    task, for the sake of time; `data` as `synthetic_datasets.everything` makes it."""
    write(folder, task, "vigil_cnn28", seed)
    (folder / "evaluation.json").unlink()
    sources = TASKS[task].sources
    added = {
        "recipe": {**recipes.load(task).model_dump(mode="json"), "sources": list(sources), "seed": seed},
        "split_sha256": split_hash(load(task, data, sources)),
        "code_version": "unknown",
        "data": [{"name": SOURCES[name].title, "licence": "", "citation": ""} for name in sources],
        "history": [
            {"epoch": epoch, "train_loss": 1 / epoch, "loss": 2 / epoch, "accuracy": 0.5, "auc_malignant": 0.6}
            for epoch in (1, 2)
        ],
    }
    edit(folder / "config.json", lambda config: config["vigil"].update(added))
    return folder


def evaluation(weights_sha256: str, task: str = "skin", seed: int = 0) -> dict[str, Any]:
    """evaluation.json: 60 malignant and 140 other pictures of a test split, scored well but not perfectly.

    Ultrasound has a second set and one from elsewhere besides, on which it does worse. Validation has 70 malignant
    groups, of two pictures each, and 70 others.
    """
    return {"weights_sha256": weights_sha256, **copy.deepcopy(_places(task, seed))}


@lru_cache(maxsize=16)
def _places(task: str, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    splits = {"validation": _split(rng, task, "Home", 140, 140, a_group=2), "test": _split(rng, task, "Home", 60, 140)}
    content: dict[str, Any] = {"splits": splits}
    if task == "ultrasound":
        splits["test-second"] = _split(rng, task, "Second", 40, 60, skill=3)
        content["external"] = {"elsewhere": _split(rng, task, "Elsewhere", 50, 80, skill=2)}
    return content


def _split(
    rng: np.random.Generator,
    task: str,
    title: str,
    positives: int,
    negatives: int,
    a_group: int = 1,
    skill: float = 4,
) -> dict[str, Any]:
    n = positives + negatives
    positive = np.arange(n) < positives
    scores = np.where(positive, rng.beta(skill, 2, n), rng.beta(1, 6, n)).round(6)
    group = np.arange(n) // a_group
    tables, by_group = {}, {}
    for who in ("malignant", *TASKS[task].reported_alone):
        counted = ~positive | (who == "malignant") | (np.arange(n) % 2 == 0)
        cases = scores[counted].tolist(), positive[counted].tolist()
        tables[who] = thresholds.threshold_table(*cases)
        by_group[who] = thresholds.threshold_table(*thresholds.worst_per_group(*cases, group[counted].tolist()))
    return {
        "sources": [title],
        "n": n,
        "groups": n // a_group,
        "metrics": {
            "auc_malignant": {"value": 0.9, "interval": [0.85, 0.95]},
            "calibration_error": {"value": 0.08, "interval": [0.05, 0.12]},
        },
        "calibration": metrics.calibration(positive, scores),
        "threshold_table": tables,
        "threshold_table_groups": by_group,
    }


def rewrite(file: Path, content: Any) -> None:
    """Write a JSON file, with NaN in Python's notation."""
    file.write_text(json.dumps(content), encoding="utf-8")


def edit(file: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file's content in place, or put what `change` returns instead."""
    content = json.loads(file.read_text())
    rewrite(file, change(content) or content)


def reseal(folder: Path) -> None:
    """Write the sha256 of the present weights into config.json and evaluation.json."""
    digest = checkpoints.sha256(folder / "model.safetensors")
    edit(folder / "config.json", lambda c: c["vigil"].update(sha256=digest))
    edit(folder / "evaluation.json", lambda c: c.update(weights_sha256=digest))


def replace_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the weights in place, and their sha256 in config.json and evaluation.json."""
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    reseal(folder)
