"""A recipe that trains in seconds, its variants, and its run."""

from pathlib import Path
from typing import Any

from train import __main__ as train_command
from train.training import recipe as recipes

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


def recipe_of(**changes: Any) -> recipes.Recipe:
    """TINY with these settings changed."""
    return recipes.Recipe.model_validate(TINY | changes)


def run(recipe: Path | str, data: Path, out: Path, *more: str) -> int:
    """`python -m train` in this process; its exit status."""
    return train_command.main([str(recipe), "--data", str(data), "--out", str(out), "--workers", "0", *more])
