"""The gate: is this a picture of the task's kind? It measures how far a picture lies from the training images.

It needs no pass of the network of its own. Its features are the mean and the standard deviation of each channel of the
feature maps, which the prediction computes anyway, and plain statistics of the picture (the only features for the
logistic regression, which has no stages). There are two kinds of gate, both stored beside the weights (`vigil.gate`,
gate.safetensors):

- Gaussians, for a checkpoint that learned from one source. `train.gate` fits one Gaussian to the features of the first
  stages and one to the picture's statistics. The score is the Mahalanobis distance (Lee et al. 2018,
  arXiv:1807.03888). The covariance has a few principal axes and one variance for all other directions (probabilistic
  PCA, Tipping and Bishop 1999).
- A head, for a checkpoint that learned from several sources, since a Gaussian of one camera's images knows the camera.
  It is a logistic regression of this kind against all others, on the statistics of all stages. Its limit leaves room
  for a source that it did not learn from. An image between the training images' scores and the limit is of the kind,
  but unlike the training images.

The gate knows nothing of classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from src.models.config import GateConfig
from src.models.networks import Network
from src.tasks import Task

MAX_SIDE = 64  # px: a picture is scaled to this for its statistics, or to the network's input where that is smaller
BANDS = 7
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
OCTAVES = 3
STAGES = 3  # the first ones: later stages respond to lesions more and to the kind of picture less
EPSILON = 1e-3  # of brightness 0..1: keeps divisors and logarithms away from 0
PICTURE_FEATURES = 2 * 4 + 2 + len(QUANTILES) + 4 * BANDS + 4 * OCTAVES


@dataclass(frozen=True)
class Verdict:
    """How far a picture lies from the training images.

    The gate accepts the picture where `score` is at most `limit`. An accepted picture with a score above `unlike_above`
    is of the task's kind but unlike the training images; `unlike_above` is infinite for a gate of Gaussians.
    """

    score: float
    limit: float
    unlike_above: float = math.inf

    @property
    def accepted(self) -> bool:
        """Whether it is a picture of the task's kind."""
        return self.score <= self.limit

    @property
    def unlike(self) -> bool:
        """Whether it is a picture of the task's kind, but unlike the training images."""
        return self.accepted and self.score > self.unlike_above


class Gaussian(nn.Module):
    """The training images' standardised features: principal axes, and one variance for all other directions."""

    mean: Tensor
    scale: Tensor
    axes: Tensor
    variances: Tensor
    rest: Tensor

    def __init__(self, features: int, axes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("axes", torch.zeros(axes, features))
        self.register_buffer("variances", torch.ones(axes))
        self.register_buffer("rest", torch.ones(1))

    def forward(self, features: Tensor) -> Tensor:
        """The squared Mahalanobis distance of features (N, D), divided by D, as a logarithm (N,).

        About 0 for a training image.
        """
        standard = (features - self.mean) / self.scale
        along = standard @ self.axes.T
        beside = (standard.square().sum(dim=1) - along.square().sum(dim=1)).clamp(min=0)
        squared = (along.square() / self.variances).sum(dim=1) + beside / self.rest
        return (squared / features.shape[1]).clamp(min=1e-6).log()


class Head(nn.Module):
    """The log odds that a picture is of another kind: a logistic regression on standardised features."""

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("weight", torch.zeros(features))
        self.register_buffer("bias", torch.zeros(1))

    def forward(self, features: Tensor) -> Tensor:
        """(N,) of features (N, D)."""
        return ((features - self.mean) / self.scale) @ self.weight + self.bias


class Gate(nn.Module):
    """The fitted head, or the fitted Gaussians, and the limit. Keeps no state between calls."""

    def __init__(self, config: GateConfig) -> None:
        super().__init__()
        self.config = config
        self.head = Head(config.head.features) if config.head is not None else None
        self.gaussians = nn.ModuleDict(
            {name: Gaussian(one.features, one.axes) for name, one in config.gaussians.items()}
        )

    def fits(self, network: Network, input_size: tuple[int, int, int]) -> bool:
        """Whether the gate has as many features as this network, and no variance of 0 or less.

        `input_size`: channels, height and width, as in its config.
        """
        expected = feature_counts(network, input_size)
        fit = all(one.features == expected[name] for name, one in self.config.gaussians.items())
        fit = fit and (self.config.head is None or self.config.head.features == expected["head"])
        divisors = [tensor for name, tensor in self.named_buffers() if name.endswith(("scale", "variances", "rest"))]
        return fit and all(bool((tensor > 0).all()) for tensor in divisors)

    def scores(self, picture: Tensor, network: Tensor) -> Tensor:
        """The scores (N,) of N pictures from their `picture_features` and `network_features`, each (N, features).

        A head gives log odds. The distances of Gaussians are standardised by those of validation images and then
        combined, so that a picture that is unusual by both sets of features has the highest score.
        """
        if self.head is not None:
            return self.head(torch.cat([picture, network], dim=1))
        features = {"picture": picture, "network": network}
        standard = [
            (self.gaussians[name](features[name][:, : one.features]) - one.middle) / one.spread
            for name, one in self.config.gaussians.items()
        ]
        return combined(torch.stack(standard))

    def verdicts(self, picture: Tensor, network: Tensor) -> list[Verdict]:
        """The verdicts on N pictures. Takes the same features as `scores`."""
        with torch.no_grad():
            scores = self.scores(picture, network).tolist()
        unlike_above = self.config.head.unlike_above if self.config.head is not None else math.inf
        return [Verdict(score, self.config.limit, unlike_above) for score in scores]


def combined(standard: Tensor) -> Tensor:
    """The scores (N,) of standardised distances (Gaussians, N): the root mean square of those above 0."""
    return standard.clamp(min=0).square().mean(dim=0).sqrt()


def feature_counts(network: Network, input_size: tuple[int, int, int]) -> dict[str, int]:
    """How many features the Gaussians "picture" and "network" and the "head" take from this network."""
    with torch.no_grad():
        _, stages = network.forward_intermediates(torch.zeros(1, *input_size))
    return {
        "picture": PICTURE_FEATURES,
        "network": network_features(stages[:STAGES]).shape[1],
        "head": PICTURE_FEATURES + network_features(stages).shape[1],
    }


def network_features(stages: Sequence[Tensor]) -> Tensor:
    """Mean and standard deviation of each channel in the maps, each (N, channels, h, w), stage by stage: (N, features).

    Gaussians take those of the first STAGES, a head takes all. (1, 0) for a network without stages.
    """
    if not stages:
        return torch.zeros(1, 0)
    maps = [stage.flatten(2) for stage in stages]
    return torch.cat([part for m in maps for part in (m.mean(dim=2), m.std(dim=2, correction=0))], dim=1)


def picture_features(field: Image.Image, task: Task, input_side: int) -> np.ndarray:
    """Plain statistics of a picture, float32 (PICTURE_FEATURES,).

    `field`: the part that is read, RGB (`scanned_field.crop`). `input_side`: of the network's input, in pixels. The
    features are: of two colour differences the mean, the spread and two outer quantiles; of brightness the mean, the
    spread and QUANTILES; the mean and spread of horizontal and of vertical bands; and at three sizes the mean and
    spread of the steps across and down. The task's colour decides whether a tint is removed first.
    """
    side = min(MAX_SIDE, input_side)
    small = field.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=3)
    rgb = np.asarray(small).astype(np.float32) / 255
    if task.colour == "grey":
        # Many scanners' displays tint their grey. A picture of another kind keeps its differences between colours.
        rgb = rgb * (rgb.mean() / np.maximum(rgb.mean(axis=(0, 1)), EPSILON))
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    found: list[float] = []
    for difference in (red - green, (red + green) / 2 - blue):
        found += [difference.mean(), difference.std(), *np.quantile(difference, (0.05, 0.95))]
    found += [grey.mean(), grey.std(), *np.quantile(grey, QUANTILES)]
    for bands in (np.array_split(grey, BANDS, axis=0), np.array_split(grey, BANDS, axis=1)):
        found += [band.mean() for band in bands] + [band.std() for band in bands]
    for _ in range(OCTAVES):
        across, down = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0))
        found += [float(np.log(step + EPSILON)) for step in (across.mean(), down.mean(), across.std(), down.std())]
        even = grey.shape[0] // 2 * 2
        grey = grey[:even, :even].reshape(even // 2, 2, even // 2, 2).mean(axis=(1, 3))
    return np.array(found, dtype=np.float32)
