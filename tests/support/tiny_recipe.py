"""A recipe that trains in seconds, and its variants."""

from typing import Any

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
