"""The gate: is this a picture of the task's kind? It measures how far a picture lies from the training images.

It needs no pass of the network of its own. Its features are the mean and the standard deviation of each channel of the
feature maps in the first stages, which the prediction computes anyway, and plain statistics of the picture (the only
features for the logistic regression, which has no stages). `train.gate` fits one Gaussian to each of the two sets of
features on the training images, and stores them beside the weights (`vigil.gate`, gate.safetensors). The distance is
the Mahalanobis distance (Lee et al. 2018, arXiv:1807.03888). The covariance has a few principal axes and one variance
for all other directions (probabilistic PCA, Tipping and Bishop 1999). The gate knows nothing of classes.
"""

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
    """How far a picture lies from the training images: the gate accepts it where `score` is at most `limit`."""

    score: float
    limit: float

    @property
    def accepted(self) -> bool:
        """Whether it is a picture of the task's kind."""
        return self.score <= self.limit


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


class Gate(nn.Module):
    """The fitted Gaussians and the limit. Keeps no state between calls."""

    def __init__(self, config: GateConfig) -> None:
        super().__init__()
        self.config = config
        self.gaussians = nn.ModuleDict(
            {name: Gaussian(one.features, one.axes) for name, one in config.gaussians.items()}
        )

    def fits(self, network: Network, input_size: tuple[int, int, int]) -> bool:
        """Whether the Gaussians have as many features as this network, and no variance of 0 or less.

        `input_size`: channels, height and width, as in its config.
        """
        with torch.no_grad():
            _, stages = network.forward_intermediates(torch.zeros(1, *input_size))
        sizes = {"picture": PICTURE_FEATURES, "network": network_features(stages).shape[1]}
        fit = all(one.features == sizes[name] for name, one in self.config.gaussians.items())
        divisors = [tensor for name, tensor in self.named_buffers() if name.endswith(("scale", "variances", "rest"))]
        return fit and all(bool((tensor > 0).all()) for tensor in divisors)

    def scores(self, picture: Tensor, network: Tensor) -> Tensor:
        """The scores (N,) of N pictures from their `picture_features` and `network_features`, each (N, features).

        The distances are standardised by those of validation images and then combined, so that a picture that is
        unusual by both sets of features has the highest score.
        """
        features = {"picture": picture, "network": network}
        standard = [
            (self.gaussians[name](features[name]) - one.middle) / one.spread
            for name, one in self.config.gaussians.items()
        ]
        return combined(torch.stack(standard))

    def verdicts(self, picture: Tensor, network: Tensor) -> list[Verdict]:
        """The verdicts on N pictures. Takes the same features as `scores`."""
        with torch.no_grad():
            return [Verdict(score, self.config.limit) for score in self.scores(picture, network).tolist()]


def combined(standard: Tensor) -> Tensor:
    """The scores (N,) of standardised distances (Gaussians, N): the root mean square of those above 0."""
    return standard.clamp(min=0).square().mean(dim=0).sqrt()


def network_features(stages: Sequence[Tensor]) -> Tensor:
    """Mean and standard deviation of each channel in the first STAGES maps, each (N, channels, h, w): (N, features).

    (1, 0) for a network without stages.
    """
    if not stages:
        return torch.zeros(1, 0)
    maps = [stage.flatten(2) for stage in stages[:STAGES]]
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
