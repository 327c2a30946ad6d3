"""Logits -> calibrated probabilities."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def class_logits(logits: Tensor) -> Tensor:
    """One logit for each class, (N, classes), of a network's output (N, outputs).

    A single output is the logit of class 1 of two: class 0 gets the logit 0, so that softmax gives the output's
    sigmoid for class 1. Any other output is returned as it is.
    """
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits


def class_score(logits: Tensor, index: int) -> Tensor:
    """The score () of the class `index` in a network's output (outputs,) for one image, as heat maps explain it.

    The logit of that class; where there is a single output, the score of class 0 is its negative.
    """
    return (logits[0] if index == 1 else -logits[0]) if logits.numel() == 1 else logits[index]


def calibrated(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Class logits (N, C) -> probabilities float64 (N, C), temperature-scaled (Guo et al. 2017, arXiv:1706.04599)."""
    return F.softmax(torch.as_tensor(logits, dtype=torch.float64) / temperature, dim=1).numpy()
