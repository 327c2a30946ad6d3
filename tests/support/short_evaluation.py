"""A shorter `train.evaluate`, where neither the width of intervals nor the number of explained images is tested."""

import pytest

from train import evaluate
from train.evaluation import explanations, metrics


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Few resamples, and few images that are explained and perturbed."""
    patch.setattr(metrics, "RESAMPLES", 20)
    patch.setattr(evaluate, "EXAMINED", 6)
    patch.setattr(explanations, "FAITHFULNESS_IMAGES", 2)
