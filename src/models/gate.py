"""Is this such a picture at all? How far a picture lies from those that a checkpoint learned from, and what it looks
like instead.

No second pass of the network: the mean and standard deviation of each channel of the maps that it computes for the
prediction, in its first stages, and some plain statistics of the picture itself (all there is for the logistic
regression, which has no stages). Of either a Gaussian of the training pictures, fitted by `train.gate` and stored
beside the weights (`vigil.gate`, gate.safetensors); the Mahalanobis distance to it (Lee et al. 2018, arXiv:1807.03888)
has a covariance of a few principal axes and one variance for all the rest (probabilistic PCA, Tipping and Bishop 1999).
Knows nothing of classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from src.models.networks import Network
from src.pictures import decode
from src.tasks import Task

FILE = "gate.safetensors"

MAX_SIDE = 64  # px: to what a picture is brought for its statistics, or to the network's own input where that is less
BANDS = 7
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
OCTAVES = 3
STAGES = 3  # the first so many: the later, the more they know of lesions and the less of what kind a picture is
FAINT = 1e-3  # of brightness 0..1: added before a logarithm
PICTURE_FEATURES = 2 * 4 + 2 + len(QUANTILES) + 4 * BANDS + 4 * OCTAVES


class BlockConfig(BaseModel):
    """One Gaussian: how many `features` it has and how many principal `axes`; the `middle` and `spread` of the log
    distances of validation pictures, which make those of two Gaussians comparable."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    features: PositiveInt
    axes: PositiveInt
    middle: float
    spread: PositiveFloat


class GateConfig(BaseModel):
    """The `vigil.gate` block. A picture is accepted up to the score `limit`. Further keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    picture: BlockConfig
    network: BlockConfig | None = None
    limit: float
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @property
    def blocks(self) -> dict[str, BlockConfig]:
        """The Gaussians by name."""
        named = {"picture": self.picture, "network": self.network}
        return {name: block for name, block in named.items() if block is not None}


@dataclass(frozen=True)
class Verdict:
    """How far a picture lies from the training pictures: accepted where the `score` is at most `limit`."""

    score: float
    limit: float

    @property
    def accepted(self) -> bool:
        """Whether it is such a picture."""
        return self.score <= self.limit


class Gaussian(nn.Module):
    """Training pictures' features, standardised, by their principal axes and one variance for all other directions."""

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
        """The mean squared Mahalanobis distance a feature (N,) of features (N, D), as a logarithm; about 0 for a
        training picture."""
        standard = (features - self.mean) / self.scale
        along = standard @ self.axes.T
        beside = (standard.square().sum(dim=1) - along.square().sum(dim=1)).clamp(min=0)
        squared = (along.square() / self.variances).sum(dim=1) + beside / self.rest
        return (squared / features.shape[1]).clamp(min=1e-6).log()


class Gate(nn.Module):
    """The fitted Gaussians and their limit. Keeps no state between calls."""

    def __init__(self, config: GateConfig) -> None:
        super().__init__()
        self.config = config
        self.gaussians = nn.ModuleDict(
            {name: Gaussian(block.features, block.axes) for name, block in config.blocks.items()}
        )

    def fits(self, network: Network, input_size: tuple[int, int, int]) -> bool:
        """Whether the Gaussians are of this network's features, and sound; `input_size` as in its config."""
        with torch.no_grad():
            _, stages = network.forward_intermediates(torch.zeros(1, *input_size))
        sizes = {"picture": PICTURE_FEATURES, "network": network_features(stages).shape[1]}
        fit = all(block.features == sizes[name] for name, block in self.config.blocks.items())
        divisors = [tensor for name, tensor in self.named_buffers() if name.endswith(("scale", "variances", "rest"))]
        return fit and all(bool((tensor > 0).all()) for tensor in divisors)

    def scores(self, picture: Tensor, network: Tensor) -> Tensor:
        """(N,) from the features of N pictures, (N, PICTURE_FEATURES) and (N, channels of `network_features`).

        The distances are standardised by those of validation pictures and added up, so that a picture that is odd in
        both ways is refused first.
        """
        given = {"picture": picture, "network": network}
        standard = [
            (self.gaussians[name](given[name]) - block.middle) / block.spread
            for name, block in self.config.blocks.items()
        ]
        return combined(torch.stack(standard))

    def verdicts(self, picture: Tensor, network: Tensor) -> list[Verdict]:
        """One a picture; `scores` tells what is given."""
        with torch.no_grad():
            return [Verdict(score, self.config.limit) for score in self.scores(picture, network).tolist()]


def combined(standard: Tensor) -> Tensor:
    """The score (N,) of standardised distances (blocks, N)."""
    return standard.clamp(min=0).square().mean(dim=0).sqrt()


def network_features(stages: Sequence[Tensor]) -> Tensor:
    """Mean and standard deviation of each channel of the first STAGES maps (N, channels, h, w): (N, 2 × channels).

    (1, 0) where there is no stage.
    """
    if not stages:
        return torch.zeros(1, 0)
    maps = [stage.flatten(2) for stage in stages[:STAGES]]
    return torch.cat([part for m in maps for part in (m.mean(dim=2), m.std(dim=2, correction=0))], dim=1)


def picture_features(image: Image.Image, task: Task, input_side: int) -> np.ndarray:
    """Plain statistics of an upright RGB picture, float32 (PICTURE_FEATURES,); of a task with a scanned field, of that.

    Of two colour differences the mean, spread and outer quantiles; of brightness mean, spread and quantiles, mean and
    spread of bands of rows and of columns, and how steep it is across and down, at three sizes. The picture is brought
    to the network's input, `input_side` pixels, or MAX_SIDE first; one that is read in grey loses its tint.
    """
    side = min(MAX_SIDE, input_side)
    field = image.crop(decode.region_of_interest(image)) if task.crop_to_roi else image
    small = field.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=3)
    rgb = np.asarray(small).astype(np.float32) / 255
    if task.colour == "grey":
        # Many scanners' displays tint their grey; a picture of another kind keeps its colours' differences.
        rgb = rgb * (rgb.mean() / np.maximum(rgb.mean(axis=(0, 1)), FAINT))
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
        found += [float(np.log(step + FAINT)) for step in (across.mean(), down.mean(), across.std(), down.std())]
        even = grey.shape[0] // 2 * 2
        grey = grey[:even, :even].reshape(even // 2, 2, even // 2, 2).mean(axis=(1, 3))
    return np.array(found, dtype=np.float32)
