"""Losses on class logits. Knows nothing of networks, data or recipes."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def class_weights(labels: Sequence[int], classes: int, power: float) -> Tensor:
    """Weights proportional to class frequency^-power, scaled to mean 1 over `labels`; float32 (classes,).

    `power` 0 gives equal weights, 1 inverse frequency. A class without a sample gets weight 0.
    """
    counts = torch.bincount(torch.as_tensor(labels), minlength=classes).double()
    weights = torch.where(counts > 0, counts.clamp(min=1) ** -power, 0.0)
    return (weights * counts.sum() / (weights * counts).sum()).float()


class FocalLoss(nn.Module):
    """Multi-class focal loss with class weights (Lin et al. 2017, arXiv:1708.02002), and optional cross-entropy.

    The loss is the mean of w[y] * (alpha * (1 - p[y])^gamma + cross_entropy) * CE. With gamma 0 and no weights it is
    `F.cross_entropy`. The cross-entropy term keeps a gradient on easy examples, which the focal term ignores. The mean
    is over samples, not over weights, so that a batch of rare classes counts for more.

    Call it with logits (N, C) of any float dtype (computed in float32) and labels (N,) int64; it returns a scalar.
    """

    def __init__(
        self,
        gamma: float,
        weights: Tensor | None = None,
        label_smoothing: float = 0.0,
        alpha: float = 1.0,
        cross_entropy: float = 0.0,
    ) -> None:
        super().__init__()
        self.gamma = gamma
        self.label_smoothing = label_smoothing
        self.alpha = alpha
        self.cross_entropy = cross_entropy
        self.register_buffer("weights", weights)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean loss, a float32 scalar."""
        logits = logits.float()
        loss = F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)
        focus: Tensor | float = 1.0
        if self.gamma:
            p = logits.softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
            # (1 - p)^gamma has an infinite slope at p = 1 for gamma below 1
            focus = (1 - p).clamp(min=1e-6) ** self.gamma
        loss = loss * (self.alpha * focus + self.cross_entropy)
        if isinstance(self.weights, Tensor):
            loss = loss * self.weights[labels]
        return loss.mean()


def distillation_loss(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """The Kullback-Leibler divergence from the teachers' answer to the network's, times `temperature` squared.

    `logits` and `taught` are class logits (N, C) of any float dtype (computed in float32). Returns the mean over the
    batch, a float32 scalar (Hinton et al. 2015, arXiv:1503.02531).
    """
    own, others = ((one.float() / temperature).log_softmax(dim=1) for one in (logits, taught))
    return F.kl_div(own, others, reduction="batchmean", log_target=True) * temperature**2
