"""Convert logits to calibrated probabilities."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def class_logits(logits: Tensor) -> Tensor:
    """The logits of all classes, (N, classes), from a network's outputs (N, outputs).

    A single output is the logit of class 1 of two. Class 0 gets the logit 0, so that softmax gives class 1 the sigmoid
    of the output. More than one output is returned unchanged.
    """
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits


def class_score(logits: Tensor, index: int) -> Tensor:
    """The score, shape (), of the class `index`, from a network's outputs (outputs,) for one image.

    Heat maps explain this score. It is the logit of that class. For a single output, the score of class 0 is the
    negative output.
    """
    return (logits[0] if index == 1 else -logits[0]) if logits.numel() == 1 else logits[index]


def calibrated(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Calibrated probabilities, float64 (N, C), of class logits (N, C).

    Temperature scaling (Guo et al. 2017, arXiv:1706.04599) divides the logits by `temperature`, which is above 0.
    """
    return F.softmax(torch.as_tensor(logits, dtype=torch.float64) / temperature, dim=1).numpy()
