"""The logistic regression baseline. scikit-learn fits it; the released model holds it as a linear layer, like any
network.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from torch import Tensor

from src.models import networks
from src.models.config import PretrainedConfig
from src.tasks import TASKS
from train.data import Sample
from train.training.dataset import load_evaluation_tensor
from train.training.recipe import LogisticRecipe


def pretrained_config(pixels: np.ndarray) -> PretrainedConfig:
    """Standardisation by the mean and standard deviation of the training `pixels`, uint8 of any shape."""
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
    """Fit the regression on the training split, with the C of the recipe's grid that has the best cross-validated AUC.

    The five folds keep groups together. The validation split has 71 images: it is too small to choose C, and the
    temperature needs it. Returns the preprocessing, the linear layer's tensors, and a row of metrics per C.
    """
    task = TASKS[recipe.task]
    training = [sample for sample in samples if sample.split == "train"]
    raw = PretrainedConfig(
        input_size=(1, 28, 28), mean=(0.0,), std=(1.0,), interpolation="bilinear", crop_pct=1.0, crop_mode="center"
    )
    pixels = load_evaluation_tensor(training, task, raw).numpy()
    config = pretrained_config(pixels)
    inputs = (pixels.reshape(len(pixels), -1) / 255 - config.mean[0]) / config.std[0]
    labels = np.array([sample.label for sample in training])
    search = GridSearchCV(
        LogisticRegression(class_weight=recipe.class_weight, max_iter=5000, random_state=recipe.seed),
        {"C": list(recipe.c_grid)},
        # the same for either class of two
        scoring="roc_auc",
        cv=StratifiedGroupKFold(5, shuffle=True, random_state=recipe.seed),
    )
    search.fit(inputs, labels, groups=[sample.group for sample in training])
    figures = search.cv_results_
    history = [
        {"C": c, "auc_malignant": float(mean), "auc_malignant_std": float(std)}
        for c, mean, std in zip(recipe.c_grid, figures["mean_test_score"], figures["std_test_score"], strict=True)
    ]
    network = networks.Linear28()
    network.load_logistic_regression(search.best_estimator_.coef_, search.best_estimator_.intercept_)
    return config, network.state_dict(), history
