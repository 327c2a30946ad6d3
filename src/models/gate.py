"""Is this such a picture at all? How far a picture lies from those that a checkpoint learned from, and what it looks
like instead.

No second pass of the network: the mean and standard deviation of each channel of the maps that it computes for the
prediction, in its first stages, and some plain statistics of the picture itself (all there is for the logistic
regression, which has no stages). Of either a Gaussian of the training pictures, fitted by `train.gate` and stored
beside the weights (`vigil.gate`, gate.safetensors); the Mahalanobis distance to it (Lee et al. 2018, arXiv:1807.03888)
has a covariance of a few principal axes and one variance for all the rest (probabilistic PCA, Tipping and Bishop 1999).

A Gaussian of one camera's pictures knows the camera. Where a checkpoint learned from several sources its gate is a
`Head` instead: a logistic regression of this kind against all others, on the statistics of all stages, whose limit
leaves room for a source that it did not learn from. Between the limit and what own pictures score lie pictures that are
of the kind but unlike what the model learned from. Knows nothing of classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from src.models.networks import Network
from src.pictures import decode
from src.pictures.decode import Picture
from src.tasks import TASKS, Task

if TYPE_CHECKING:
    from src.service.worker_pool import Models

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


class HeadConfig(BaseModel):
    """The logistic regression: how many `features` it has, and from which score up an accepted picture is unlike the
    training pictures."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    features: PositiveInt
    unlike_above: float


class GateConfig(BaseModel):
    """The `vigil.gate` block. A picture is accepted up to the score `limit`. Further keys are ignored.

    Either a `head`, or the Gaussians `picture` and `network`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    picture: BlockConfig | None = None
    network: BlockConfig | None = None
    head: HeadConfig | None = None
    limit: float
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _one_of_both(self) -> "GateConfig":
        if (self.head is None) == (self.picture is None):
            raise ValueError("a gate has either a head or Gaussians")
        return self

    @property
    def blocks(self) -> dict[str, BlockConfig]:
        """The Gaussians by name."""
        named = {"picture": self.picture, "network": self.network}
        return {name: block for name, block in named.items() if block is not None}


@dataclass(frozen=True)
class Verdict:
    """How far a picture lies from the training pictures: accepted where the `score` is at most `limit`; from
    `unlike_above` on it is of the kind but unlike them (never, where that is infinite)."""

    score: float
    limit: float
    unlike_above: float = math.inf

    @property
    def accepted(self) -> bool:
        """Whether it is such a picture."""
        return self.score <= self.limit

    @property
    def unlike(self) -> bool:
        """Whether it is such a picture but unlike those that the model learned from."""
        return self.accepted and self.score > self.unlike_above


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


class Head(nn.Module):
    """The log odds that a picture is of another kind, linear in standardised features."""

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
    """The fitted head, or the fitted Gaussians, and their limit. Keeps no state between calls."""

    def __init__(self, config: GateConfig) -> None:
        super().__init__()
        self.config = config
        self.head = Head(config.head.features) if config.head is not None else None
        self.gaussians = nn.ModuleDict(
            {name: Gaussian(block.features, block.axes) for name, block in config.blocks.items()}
        )

    def fits(self, network: Network, input_size: tuple[int, int, int]) -> bool:
        """Whether the gate is of this network's features, and sound; `input_size` as in its config."""
        expected = sizes(network, input_size)
        fit = all(block.features == expected[name] for name, block in self.config.blocks.items())
        fit = fit and (self.config.head is None or self.config.head.features == expected["head"])
        divisors = [tensor for name, tensor in self.named_buffers() if name.endswith(("scale", "variances", "rest"))]
        return fit and all(bool((tensor > 0).all()) for tensor in divisors)

    def scores(self, picture: Tensor, network: Tensor) -> Tensor:
        """(N,) from the features of N pictures, (N, PICTURE_FEATURES) and (N, channels of `network_features`).

        The head's log odds; or the Gaussians' distances, standardised by those of validation pictures and added up,
        so that a picture that is odd in both ways is refused first.
        """
        if self.head is not None:
            return self.head(torch.cat([picture, network], dim=1))
        given = {"picture": picture, "network": network}
        standard = [
            (self.gaussians[name](given[name][:, : block.features]) - block.middle) / block.spread
            for name, block in self.config.blocks.items()
        ]
        return combined(torch.stack(standard))

    def verdicts(self, picture: Tensor, network: Tensor) -> list[Verdict]:
        """One a picture; `scores` tells what is given."""
        with torch.no_grad():
            scores = self.scores(picture, network).tolist()
        unlike_above = self.config.head.unlike_above if self.config.head is not None else math.inf
        return [Verdict(score, self.config.limit, unlike_above) for score in scores]


def combined(standard: Tensor) -> Tensor:
    """The score (N,) of standardised distances (blocks, N)."""
    return standard.clamp(min=0).square().mean(dim=0).sqrt()


def sizes(network: Network, input_size: tuple[int, int, int]) -> dict[str, int]:
    """How many features the Gaussians "picture" and "network" and the "head" take of this network."""
    with torch.no_grad():
        _, stages = network.forward_intermediates(torch.zeros(1, *input_size))
    return {
        "picture": PICTURE_FEATURES,
        "network": network_features(stages[:STAGES]).shape[1],
        "head": PICTURE_FEATURES + network_features(stages).shape[1],
    }


def network_features(stages: Sequence[Tensor]) -> Tensor:
    """Mean and standard deviation of each channel of the maps (N, channels, h, w), stage by stage: (N, 2 × channels).

    Gaussians take those of the first STAGES, a head all of them. (1, 0) where there is no stage.
    """
    if not stages:
        return torch.zeros(1, 0)
    maps = [stage.flatten(2) for stage in stages]
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


def looks_like(models: "Models", picture: Picture, task: Task) -> str | None:
    """The name of another task whose gate accepts the picture, the surest of them; None where none does.

    Runs the other tasks' networks. Of two tasks of the same look the first is named. Raises ImageRefused.
    """
    surest: dict[str, tuple[float, str]] = {}
    for name, other in TASKS.items():
        if name == task.name or name not in models:
            continue
        verdict = models[name].predict(picture).gate
        if verdict is not None and verdict.accepted and other.look not in surest:
            surest[other.look] = (verdict.limit - verdict.score, name)
    return max(surest.values())[1] if surest else None


def sentence(task: Task, other: str | None = None) -> str:
    """What is said of a picture that is not accepted; `other` names the task that it looks like, where one is known."""
    if other is None:
        return f"This does not look like {task.look}: what the model says of it means little."
    there = TASKS[other]
    if there.look == task.look:
        return f"This does not look like the {task.look} that this model knows; try the tab {there.title}."
    return f"This does not look like {task.look}; it looks like {there.look}: open the tab {there.title}."


def unlike_sentence(task: Task) -> str:
    """What is said of a picture that is accepted but unlike those that the model learned from."""
    return f"This is {task.look}, but unlike the pictures that the model learned from: expect it to do worse here."


def remarks(verdict: Verdict | None, task: Task, other: str | None = None) -> tuple[str, ...]:
    """The `sentence` where the gate does not accept, the `unlike_sentence` where it does but barely, else nothing."""
    if verdict is None or (verdict.accepted and not verdict.unlike):
        return ()
    return (unlike_sentence(task) if verdict.accepted else sentence(task, other),)


def told(verdict: Verdict | None, task: Task, other: str | None = None) -> dict[str, Any] | None:
    """The API's `gate`; None for a checkpoint without one."""
    if verdict is None:
        return None
    return {
        "accepted": verdict.accepted,
        "sentence": None if verdict.accepted else sentence(task, other),
        "looks_like": other,
        "score": verdict.score,
        "limit": verdict.limit,
        "unlike": verdict.unlike,
    }
