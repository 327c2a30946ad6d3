"""config.json of a checkpoint folder as types: timm's Hub format, and the `vigil` block beside it.

All code that needs a checkpoint's settings uses these types. They know the tasks and the networks' names. They open no
file.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from src.models.architectures import CLASSIFIERS, SEGMENTERS
from src.tasks import TASKS

LESION_FINDER_FILE = "region.safetensors"
GATE_FILE = "gate.safetensors"
FILES = ("config.json", "evaluation.json", "model.safetensors")
"""The files of every checkpoint folder."""
FURTHER_FILES = {"region": LESION_FINDER_FILE, "gate": GATE_FILE}
"""The optional files of a checkpoint folder: the key of the `vigil` block that describes a file -> the file's name."""
MOST_MEMBERS = 4
"""The most members that a checkpoint may have besides model.safetensors."""

Sha256 = Field(pattern=r"^[0-9a-f]{64}$")

TestTimeAugmentation = Literal["none", "flips", "d4"]
"""The views: "none" is the image alone, "flips" all 4 mirror images, "d4" these with all quarter turns (8)."""


class _Block(BaseModel):
    """A part of config.json. Further keys are ignored, because later versions and timm write more."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class PretrainedConfig(_Block):
    """timm's `pretrained_cfg`: how an image becomes the network's input.

    `input_size`: channels, height and width in pixels. `mean` and `std`: one value per channel, for pixels in
    0..1.
    """

    input_size: tuple[Literal[1, 3], int, int]
    mean: tuple[float, ...]
    std: tuple[PositiveFloat, ...]
    interpolation: Literal["bilinear", "bicubic"]
    crop_pct: float = Field(ge=1, le=1)
    crop_mode: Literal["squash", "center"]

    @model_validator(mode="after")
    def _sizes(self) -> "PretrainedConfig":
        channels, height, width = self.input_size
        if not len(self.mean) == len(self.std) == channels:
            raise ValueError("mean and std need one value per channel")
        if height != width or not 16 <= height <= 640:
            raise ValueError("input_size must be square, 16 to 640 pixels")
        return self


class LesionFinderConfig(_Block):
    """The `vigil.region` block: how an image becomes the U-Net's input, and how its output becomes a box.

    `side`: the side of the square input in pixels. `threshold`: the probability from which a pixel counts as lesion.
    `smallest`: the share of all pixels, 0 to 1, that a connected component must cover to count as a lesion. `margin`:
    the margin on each side of a lesion, as a share of its longer side. `sha256`: the SHA-256 of region.safetensors.
    """

    architecture: str
    side: int = Field(ge=32, le=640, multiple_of=16)
    mean: tuple[float, float, float]
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    threshold: float = Field(gt=0, lt=1)
    smallest: float = Field(ge=0, lt=1)
    margin: float = Field(ge=0, le=2)
    sha256: str = Sha256

    @model_validator(mode="after")
    def _known(self) -> "LesionFinderConfig":
        if self.architecture not in SEGMENTERS:
            raise ValueError(f"unknown network {self.architecture[:80]!r}")
        return self


class MemberConfig(_Block):
    """A block in `vigil.members`: a further network, of the same architecture and input as model.safetensors.

    `reads`: the part of an image that it reads, "lesion" for the lesion that the checkpoint's lesion finder finds, and
    "field" for the whole scanned field or picture. `temperature`: its logits are divided by this before the mean over
    all networks. `sha256`: the SHA-256 of its file (`member_file`).
    """

    reads: Literal["lesion", "field"]
    temperature: float = Field(gt=0, le=100)
    sha256: str = Sha256


def member_file(number: int) -> str:
    """The name of the weights of a checkpoint's member, which are counted from 1."""
    return f"member-{number}.safetensors"


def further_files(vigil: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the optional files that a `vigil` block names. The block need not be verified yet."""
    members = vigil.get("members")
    count = min(len(members), MOST_MEMBERS) if isinstance(members, list | tuple) else 0
    named = [file for key, file in FURTHER_FILES.items() if vigil.get(key) is not None]
    return (*named, *map(member_file, range(1, count + 1)))


class GaussianConfig(_Block):
    """One Gaussian of the gate.

    `features`: the number of its features. `axes`: the number of its principal axes. `middle`: the median of validation
    images' log distances. `spread`: the standard deviation of a normal distribution with the same 97.5% quantile. Both
    make the distances to two Gaussians comparable.
    """

    features: PositiveInt
    axes: PositiveInt
    middle: float
    spread: PositiveFloat


class HeadConfig(_Block):
    """The logistic regression of a gate.

    `features`: the number of its features. `unlike_above`: an accepted image with a higher score is unlike the training
    images.
    """

    features: PositiveInt
    unlike_above: float


class GateConfig(_Block):
    """The `vigil.gate` block: either a `head`, or the Gaussians `picture` and `network`.

    `limit`: the gate accepts an image whose score is at most this. `unlike_above`: for Gaussians, what `HeadConfig`
    says of a head; None for a gate that was fitted before Gaussians had it. `sha256`: the SHA-256 of gate.safetensors.
    """

    picture: GaussianConfig | None = None
    network: GaussianConfig | None = None
    head: HeadConfig | None = None
    limit: float
    unlike_above: float | None = None
    sha256: str = Sha256

    @model_validator(mode="after")
    def _one_of_both(self) -> "GateConfig":
        if (self.head is None) == (self.picture is None):
            raise ValueError("a gate has either a head or Gaussians")
        return self

    @property
    def gaussians(self) -> dict[str, GaussianConfig]:
        """The Gaussians by name."""
        named = {"picture": self.picture, "network": self.network}
        return {name: gaussian for name, gaussian in named.items() if gaussian is not None}


class VigilConfig(_Block):
    """The `vigil` block: the settings and facts of a checkpoint that timm's format has no place for."""

    task: str
    name: str
    temperature: float = Field(gt=0, le=100)
    test_time_augmentation: TestTimeAugmentation = "none"
    default_threshold: float = Field(ge=0, le=1)
    sha256: str = Sha256
    """The SHA-256 of model.safetensors."""
    data: tuple[dict[str, str], ...] = ()
    """Name, licence and citation of each dataset that the network was trained on."""
    history: tuple[dict[str, Any], ...] = ()
    """The metrics of every epoch."""
    region: LesionFinderConfig | None = None
    """The U-Net that finds the part of the image that the network reads; None if the network reads the whole field."""
    members: Annotated[tuple[MemberConfig, ...], Field(max_length=MOST_MEMBERS)] = ()
    """The networks whose logits are averaged with those of model.safetensors; none for a checkpoint of one network."""
    gate: GateConfig | None = None
    """The gate, which decides whether an image is of the task's kind; None for a checkpoint without one."""
    golden: dict[str, tuple[float, ...]] = {}
    """The file name of an image in examples/TASK -> the class probabilities that the checkpoint must give for it,
    within 1e-3 (`train.release`)."""


class Config(_Block):
    """The whole config.json."""

    architecture: str
    num_classes: int
    label_names: tuple[str, ...]
    pretrained_cfg: PretrainedConfig
    vigil: VigilConfig

    @model_validator(mode="after")
    def _known(self) -> "Config":
        if self.architecture not in CLASSIFIERS:
            raise ValueError(f"unknown network {self.architecture[:80]!r}")
        task = TASKS.get(self.vigil.task)
        if task is None:
            raise ValueError(f"unknown task {self.vigil.task[:80]!r}")
        if self.label_names != task.codes:
            raise ValueError(f"label_names must be {', '.join(task.codes)}, in this order")
        # A single output is the logit of the second of two classes (probabilities.class_logits).
        if self.num_classes != len(task.codes) and not (self.num_classes == 1 and len(task.codes) == 2):
            raise ValueError(f"num_classes {self.num_classes} does not fit {self.vigil.task}")
        if self.vigil.region is None and any(member.reads == "lesion" for member in self.vigil.members):
            raise ValueError("a member reads lesions, and the checkpoint has no lesion finder")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all files that the checkpoint needs."""
        vigil = self.vigil
        return (*FILES, *further_files({"region": vigil.region, "gate": vigil.gate, "members": vigil.members}))
