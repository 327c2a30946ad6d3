"""The logistic regression baseline: scikit-learn fits it, a linear layer holds it, so that it serves as any other.

Knows nothing of training loops.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from src import networks
from src.tasks import TASKS
from src.weights import PretrainedConfig
from train import metrics
from train.data import Sample
from train.dataset import load_evaluation_tensor
from train.recipe import LogisticRecipe


def pretrained_config(pixels: np.ndarray) -> PretrainedConfig:
    """Standardisation by the training pixels' own mean and standard deviation; `pixels` uint8, any shape."""
    scaled = pixels / 255
    return PretrainedConfig(
        input_size=(1, 28, 28),
        mean=(round(float(scaled.mean()), 4),),
        std=(round(float(scaled.std()), 4),),
        interpolation="bilinear",
        crop_pct=1.0,
        crop_mode="center",
    )


def fit(
    recipe: LogisticRecipe, samples: Sequence[Sample]
) -> tuple[PretrainedConfig, dict[str, Tensor], list[dict[str, Any]]]:
    """Fit one regression for each C of the recipe's grid on "train", keep the one with the best validation AUC.

    Returns how a picture becomes its input, the linear layer's tensors, and a line of metrics for each C.
    """
    task = TASKS[recipe.task]
    raw = PretrainedConfig(
        input_size=(1, 28, 28), mean=(0.0,), std=(1.0,), interpolation="bilinear", crop_pct=1.0, crop_mode="center"
    )
    by_split = {split: [sample for sample in samples if sample.split == split] for split in ("train", "validation")}
    pixels = {split: load_evaluation_tensor(some, task, raw).numpy() for split, some in by_split.items()}
    labels = {split: np.array([sample.label for sample in some]) for split, some in by_split.items()}
    config = pretrained_config(pixels["train"])
    inputs = {
        split: (some.reshape(len(some), -1) / 255 - config.mean[0]) / config.std[0] for split, some in pixels.items()
    }
    history, fitted = [], []
    for c in recipe.c_grid:
        model = LogisticRegression(C=c, class_weight=recipe.class_weight, max_iter=5000, random_state=recipe.seed)
        model.fit(inputs["train"], labels["train"])
        logit = model.decision_function(inputs["validation"])
        figures = metrics.quick(task, np.stack([np.zeros_like(logit), logit], axis=1), labels["validation"])
        history.append({"C": c, **figures})
        fitted.append(model)
    best = fitted[int(np.argmax([row["auc_malignant"] for row in history]))]
    network = networks.Linear28()
    network.load_logistic_regression(best.coef_, best.intercept_)
    return config, network.state_dict(), history
