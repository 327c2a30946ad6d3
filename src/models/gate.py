"""The gate: it decides whether an image is of the task's kind by its distance to the training images.

It needs no additional pass of the network. Its features are the mean and the standard deviation of each channel of the
feature maps, which the prediction computes anyway, and plain statistics of the image. For the logistic regression over
pixels, which has no stages, the statistics are the only features. There are two kinds of gate, both stored beside the
weights (`vigil.gate`, gate.safetensors):

- Gaussians, for a checkpoint that learned from one source. `train.gate` fits one Gaussian to the features of the first
  stages and one to the image's statistics. The score is the Mahalanobis distance (Lee et al. 2018,
  arXiv:1807.03888). The covariance has a few principal axes and one variance for all other directions (probabilistic
  PCA, Tipping and Bishop 1999).
- A head, for a checkpoint that learned from several sources, because a Gaussian of one camera's images also learns the
  camera. The head is a logistic regression that separates this kind from all others by the features of all stages. Its
  limit leaves a margin for sources that it did not learn from.

`train.gate` chooses between them. The embedded ultrasound has Gaussians, because it is older than the head. An image
whose score lies between those of 99% of the validation images and the limit is of the task's kind, but unlike the
training images.

The gate knows nothing of the task's classes.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from src.models.config import GateConfig
from src.models.networks import Network
from src.models.prediction import Verdict
from src.pictures.scaling import scaled
from src.tasks import Task

MAX_SIDE = 64  # px: an image is scaled to this for its statistics, or to the network's input if that is smaller
BANDS = 7
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
OCTAVES = 3
STAGES = 3  # the first ones: later stages depend more on the lesion and less on the kind of image
EPSILON = 1e-3  # of brightness 0..1: keeps divisors and logarithms away from 0
PICTURE_FEATURES = 2 * 4 + 2 + len(QUANTILES) + 4 * BANDS + 4 * OCTAVES


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
        """The log of the squared Mahalanobis distance divided by D, (N,), for features (N, D).

        It is about 0 for a training image.
        """
        standard = (features - self.mean) / self.scale
        along = standard @ self.axes.T
        beside = (standard.square().sum(dim=1) - along.square().sum(dim=1)).clamp(min=0)
        squared = (along.square() / self.variances).sum(dim=1) + beside / self.rest
        return (squared / features.shape[1]).clamp(min=1e-6).log()


class Head(nn.Module):
    """A logistic regression on standardised features: the log odds that an image is of another kind."""

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
        """The log odds (N,) for features (N, D)."""
        return ((features - self.mean) / self.scale) @ self.weight + self.bias


class Gate(nn.Module):
    """The fitted head or the fitted Gaussians, and the limit. It keeps no state between calls."""

    def __init__(self, config: GateConfig) -> None:
        super().__init__()
        self.config = config
        self.head = Head(config.head.features) if config.head is not None else None
        self.gaussians = nn.ModuleDict(
            {name: Gaussian(one.features, one.axes) for name, one in config.gaussians.items()}
        )

    def fits(self, network: Network, input_size: tuple[int, int, int]) -> bool:
        """Whether the gate has the features of this network, and all scales and variances are positive.

        `input_size`: channels, height and width of the network's input.
        """
        expected = feature_counts(network, input_size)
        fit = all(one.features == expected[name] for name, one in self.config.gaussians.items())
        fit = fit and (self.config.head is None or self.config.head.features == expected["head"])
        divisors = [tensor for name, tensor in self.named_buffers() if name.endswith(("scale", "variances", "rest"))]
        return fit and all(bool((tensor > 0).all()) for tensor in divisors)

    def scores(self, picture: Tensor, network: Tensor) -> Tensor:
        """The scores (N,) of N images from their `picture_features` and `network_features`, each (N, features).

        A head gives log odds. The distances to the Gaussians are standardised by those of validation images and then
        combined, so that an image that is unusual by both sets of features has the highest score.
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
        """The verdicts on N images, from the same features as `scores`."""
        with torch.no_grad():
            scores = self.scores(picture, network).tolist()
        unlike_above = self.config.unlike_above if self.config.head is None else self.config.head.unlike_above
        above = math.inf if unlike_above is None else unlike_above
        return [Verdict(score, self.config.limit, above) for score in scores]


def combined(standard: Tensor) -> Tensor:
    """The scores (N,) from standardised distances (Gaussians, N): their root mean square, with negative ones as 0."""
    return standard.clamp(min=0).square().mean(dim=0).sqrt()


def feature_counts(network: Network, input_size: tuple[int, int, int]) -> dict[str, int]:
    """The number of features of the Gaussians "picture" and "network", and of the "head", for this network.

    `input_size`: channels, height and width of the network's input.
    """
    with torch.no_grad():
        _, stages = network.forward_intermediates(torch.zeros(1, *input_size))
    return {
        "picture": PICTURE_FEATURES,
        "network": network_features(stages[:STAGES]).shape[1],
        "head": PICTURE_FEATURES + network_features(stages).shape[1],
    }


def network_features(stages: Sequence[Tensor]) -> Tensor:
    """The mean and the standard deviation of each channel of the maps, stage by stage: (N, features).

    `stages`: the maps, each (N, channels, h, w). The Gaussian "network" takes the features of the first STAGES, a head
    those of all stages. A network without stages gives a tensor of shape (1, 0).
    """
    if not stages:
        return torch.zeros(1, 0)
    maps = [stage.flatten(2) for stage in stages]
    return torch.cat([part for m in maps for part in (m.mean(dim=2), m.std(dim=2, correction=0))], dim=1)


def picture_features(fields: Sequence[Image.Image], task: Task, input_side: int) -> np.ndarray:
    """Plain statistics of N images, float32 (N, PICTURE_FEATURES).

    `fields`: the part of each image that the model reads, RGB (`scanned_field.crop`). `input_side`: the side of the
    network's input in pixels. A tint is removed first for a grey task. In this order, the features are:

    - two differences between colours: mean, standard deviation and two outer quantiles;
    - brightness: mean, standard deviation and QUANTILES;
    - BANDS horizontal and BANDS vertical bands: their means and standard deviations;
    - the steps between neighbouring pixels, across and down, at OCTAVES sizes: log mean and log standard deviation.
    """
    side = min(MAX_SIDE, input_side)
    rgb = np.stack([scaled(field, (side, side)) for field in fields]).astype(np.float32) / 255
    if task.colour == "grey":
        # Many scanners tint their grey. An image of another kind keeps its differences between colours.
        means = rgb.mean(axis=(2, 3), keepdims=True)
        rgb = rgb * (means.mean(axis=1, keepdims=True) / np.maximum(means, EPSILON))
    red, green, blue = rgb[:, 0], rgb[:, 1], rgb[:, 2]
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    features: list[np.ndarray] = []
    for difference in (red - green, (red + green) / 2 - blue):
        features += [*_mean_and_std(difference), *_quantiles(difference, (0.05, 0.95))]
    features += [*_mean_and_std(grey), *_quantiles(grey, QUANTILES)]
    for axis in (1, 2):
        features += [*_band_statistics(grey, axis)]
    for _ in range(OCTAVES):
        across, down = (_mean_and_std(np.abs(np.diff(grey, axis=axis))) for axis in (2, 1))
        features += [np.log(step + EPSILON) for pair in zip(across, down, strict=True) for step in pair]
        even = grey.shape[1] // 2 * 2
        grey = grey[:, :even, :even].reshape(-1, even // 2, 2, even // 2, 2).mean(axis=(2, 4))
    return np.stack(features, axis=1).astype(np.float32)


def _mean_and_std(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each of N maps (N, height, width)."""
    return values.mean(axis=(1, 2)), values.std(axis=(1, 2))


def _band_statistics(values: np.ndarray, axis: int) -> np.ndarray:
    """The means, then the standard deviations, of BANDS bands along an axis of N square maps, (2 * BANDS, N).

    The bands are those of `np.array_split`.
    """
    side = values.shape[axis]
    widths = side // BANDS + (np.arange(BANDS) < side % BANDS)
    starts, pixels = np.cumsum(widths) - widths, widths * side
    doubles = values.astype(np.float64)
    means, squares = (
        np.add.reduceat(power.sum(axis=3 - axis), starts, axis=1) / pixels for power in (doubles, doubles**2)
    )
    return np.concatenate([means, np.sqrt(np.maximum(squares - means**2, 0))], axis=1).T


def _quantiles(values: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """The quantiles of each of N maps (N, height, width), (shares, N)."""
    return np.quantile(values.reshape(len(values), -1), shares, axis=1)
