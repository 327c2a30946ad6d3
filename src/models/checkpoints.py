"""A checkpoint folder (ours, another or one from the Hub), verified before use; and the network built from it.

A checkpoint folder is DESIGN.md's: config.json, model.safetensors, evaluation.json, and what config.json names beyond
them. Nothing is unpickled and no code is fetched: the network is built from our own list of names and the safetensors
file is loaded strictly. Knows nothing of pictures.
"""

import hashlib
import json
import logging
import os
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import safetensors
import safetensors.torch
import timm
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, model_validator
from torch import nn

from src.models import gate, hub, lesion_finder, networks
from src.models.gate import Gate, GateConfig
from src.models.hub import HubError
from src.models.lesion_finder import LesionFinder, LesionUNet, RegionConfig
from src.models.networks import Network
from src.tasks import TASKS

log = logging.getLogger(__name__)

EMBEDDED = Path(__file__).resolve().parents[2] / "checkpoints"
FILES = ("config.json", "evaluation.json", "model.safetensors")
FURTHER = {"region": lesion_finder.FILE, "gate": gate.FILE}
"""Further files: the key of config.json's `vigil` block that tells of one -> its name."""

# The largest network here, EfficientNetV2-M with CBAM, is 230 MB in float32.
MAX_WEIGHTS_BYTES = 600 * 2**20
# Its header, with some 1,300 tensors, is 0.2 MB; a 99 MB header takes 1.1 GB to parse (HARDENING.md).
MAX_HEADER_BYTES = 4 * 2**20
MAX_JSON_BYTES = 16 * 2**20
DTYPES = frozenset({"F16", "F32", "I64"})  # I64: batch norm's counters

TestTimeAugmentation = Literal["none", "flips", "d4"]
"""Which views of a picture are averaged: itself; mirrored both ways (4); mirrored and turned by quarters (8)."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be had or does not verify; the message says why in one sentence."""


class PretrainedConfig(BaseModel):
    """timm's `pretrained_cfg`: how a picture becomes the network's input. Further keys are timm's and are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

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
            raise ValueError("mean and std need one value a channel")
        if height != width or not 16 <= height <= 640:
            raise ValueError("input_size must be square, 16 to 640 pixels")
        return self


class VigilConfig(BaseModel):
    """The `vigil` block: what a Vigil checkpoint says of itself beyond timm's format. Further keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    task: str
    name: str
    temperature: float = Field(gt=0, le=100)
    test_time_augmentation: TestTimeAugmentation = "none"
    default_threshold: float = Field(ge=0, le=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    data: tuple[dict[str, str], ...] = ()
    """What it learned from: name, licence and citation of each set."""
    history: tuple[dict[str, Any], ...] = ()
    """The figures of every epoch."""
    region: RegionConfig | None = None
    """The U-Net that finds what the network is shown, in region.safetensors beside the weights."""
    gate: GateConfig | None = None
    """What tells whether a picture is of the task's kind at all, in gate.safetensors beside the weights."""
    golden: dict[str, tuple[float, ...]] = {}
    """What it must answer: a picture in examples/TASK -> the probability of each class, to 1e-3 (train.release)."""


class Config(BaseModel):
    """config.json: timm's Hub format and the `vigil` block."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    architecture: str
    num_classes: int
    label_names: tuple[str, ...]
    pretrained_cfg: PretrainedConfig
    vigil: VigilConfig

    @model_validator(mode="after")
    def _known(self) -> "Config":
        if self.architecture not in networks.ARCHITECTURES:
            raise ValueError(f"unknown network {self.architecture[:80]!r}")
        task = TASKS.get(self.vigil.task)
        if task is None:
            raise ValueError(f"unknown task {self.vigil.task[:80]!r}")
        if self.label_names != task.codes:
            raise ValueError(f"label_names must be {', '.join(task.codes)}, in this order")
        # One output is the logit of the second of two classes (predictor.class_logits).
        if self.num_classes != len(task.codes) and not (self.num_classes == 1 and len(task.codes) == 2):
            raise ValueError(f"num_classes {self.num_classes} does not fit {self.vigil.task}")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the checkpoint's files: what the Hub needs to have."""
        return (*FILES, *(file for key, file in FURTHER.items() if getattr(self.vigil, key) is not None))


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A verified checkpoint.

    `source` is "embedded", a folder or "owner/repo"; `revision` the Hub's commit, or the first twelve digits of the
    weights' sha256 where there is none. `problem` says in one sentence why this is not the checkpoint that was asked
    for (None where it is). `network` is in eval mode, float32, without gradients; so is that of `finder`, which finds
    what the network is shown, where the config names one, and of `gate`, which tells whether a picture is of its kind.
    """

    config: Config
    network: Network
    evaluation: dict[str, Any] | None
    source: str
    revision: str
    problem: str | None = None
    finder: LesionFinder | None = None
    gate: Gate | None = None


def find(task: str, asked: str | None = None) -> Checkpoint:
    """The checkpoint that serves `task` on the page; never fails where the embedded one is whole.

    `asked` ("owner/repo", "owner/repo@revision" or a folder) or else the environment decides: `VIGIL_WEIGHTS_<TASK>`,
    then `VIGIL_WEIGHTS_OWNER`. What cannot be had or does not verify is logged and the embedded default returned, with
    `problem` set. Raises CheckpointError only where the embedded default itself is broken.
    """
    owner = os.environ.get("VIGIL_WEIGHTS_OWNER")
    asked = asked or os.environ.get(f"VIGIL_WEIGHTS_{task.upper()}") or (f"{owner}/vigil-{task}" if owner else None)
    if not asked:
        return load(task, EMBEDDED / task)
    try:
        return load(task, asked)
    except CheckpointError as error:
        log.warning("%s: the embedded checkpoint serves instead of %s: %s", task, asked, error, exc_info=True)
        problem = f"The weights {asked} could not be used ({error}) The embedded default serves instead."
        return replace(load(task, EMBEDDED / task), problem=problem)


def further(task: str) -> list[str]:
    """The embedded folders of the task's further checkpoints, TASK-NAME, by name."""
    return sorted(folder.name for folder in EMBEDDED.glob(f"{task}-*"))


def find_further(task: str) -> dict[str, Checkpoint]:
    """Those of `further`, by name, that verify; any other is logged and left out, since the task has its default."""
    found = {}
    for name in further(task):
        try:
            found[name] = load(task, EMBEDDED / name)
        except CheckpointError as error:
            log.warning("%s: %s is not offered: %s", task, name, error)
    return found


def load(task: str, where: str | Path) -> Checkpoint:
    """Load and verify one checkpoint of `task` from a folder or, "owner/repo[@revision]", from the Hub.

    Raises CheckpointError, whose message says what is wrong, without a fallback.
    """
    if Path(where).is_dir():
        source = "embedded" if Path(where).resolve().parent == EMBEDDED else str(where)
        return _verified(task, Path(where), source)
    repo, _, revision = str(where).partition("@")
    if repo.count("/") != 1 or repo.startswith((".", "/")):
        raise CheckpointError(f"{where} is neither a folder nor owner/repo[@revision].")
    try:
        folder, commit = hub.pull(repo, revision or None, FILES, _further)
    except HubError as error:
        raise CheckpointError(str(error)) from error
    try:
        return _verified(task, folder, repo, commit)
    except CheckpointError:
        # What arrived damaged must not stay in the cache: the next start fetches it again.
        for name in (*FILES, *FURTHER.values()):
            (folder / name).resolve().unlink(missing_ok=True)
        raise


def build(architecture: str, num_classes: int, channels: int, **kwargs: Any) -> Network:
    """An untrained network of our own list, never with weights from elsewhere. `kwargs`: drop_rate, drop_path_rate.

    Raises CheckpointError for a name that is not on the list.
    """
    if architecture not in networks.ARCHITECTURES:
        raise CheckpointError(f"Unknown network {architecture!r}.")
    network = timm.create_model(architecture, pretrained=False, num_classes=num_classes, in_chans=channels, **kwargs)
    return cast(Network, network)


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, after its size, header size, types and values have been looked at.

    Raises CheckpointError for a file that is not one, is too large or holds a NaN or an infinity.
    """
    try:
        if not 8 < file.stat().st_size <= MAX_WEIGHTS_BYTES:
            raise CheckpointError(f"{file.name} has an impossible size.")
        with file.open("rb") as stream:
            (header,) = struct.unpack("<Q", stream.read(8))
        if header > MAX_HEADER_BYTES:
            raise CheckpointError(f"{file.name} is not a safetensors file, or its header is too large.")
        with safetensors.safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a mapping, it has nothing but keys()
                if opened.get_slice(name).get_dtype() not in DTYPES:
                    raise CheckpointError(f"{file.name} holds values of a type that no checkpoint has ({name}).")
        tensors = safetensors.torch.load_file(file)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{file.name} cannot be read as safetensors.") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{file.name} holds values that are not finite ({name}).")
    return tensors


def sha256(file: Path) -> str:
    """The sha256 of a file's bytes, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _verified(task: str, folder: Path, source: str, commit: str | None = None) -> Checkpoint:
    """The checkpoint in `folder`, after everything that can be checked of it was."""
    try:
        config = Config.model_validate(_json(folder / "config.json"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CheckpointError(f"config.json: {where + ': ' if where else ''}{first['msg']}.") from error
    if config.vigil.task != task:
        raise CheckpointError(f"This is a checkpoint for {config.vigil.task}, not for {task}.")
    network = build(config.architecture, config.num_classes, config.pretrained_cfg.input_size[0])
    fill(network, config.architecture, folder / "model.safetensors", config.vigil.sha256)
    finder = None
    if config.vigil.region is not None:
        finder = LesionFinder(LesionUNet(), config.vigil.region)
        fill(finder.network, "U-Net", folder / lesion_finder.FILE, config.vigil.region.sha256)
    keeper = None
    if config.vigil.gate is not None:
        keeper = Gate(config.vigil.gate)
        fill(keeper, "gate", folder / gate.FILE, config.vigil.gate.sha256)
        keeper.eval().requires_grad_(False)
        if not keeper.fits(network.eval(), config.pretrained_cfg.input_size):
            raise CheckpointError(f"{gate.FILE} does not fit the network {config.architecture}.")
    evaluation_file = folder / "evaluation.json"
    evaluation = _json(evaluation_file) if evaluation_file.is_file() else None
    if evaluation is not None and evaluation.get("weights_sha256") != config.vigil.sha256:
        raise CheckpointError("evaluation.json was made from other weights.")
    revision = commit or config.vigil.sha256[:12]
    log.info("%s: %s, revision %s", task, source, revision)
    network.eval().requires_grad_(False)
    return Checkpoint(config, network, evaluation, source, revision, finder=finder, gate=keeper)


def _further(folder: Path) -> tuple[str, ...]:
    """The files beyond FILES that this folder's config.json tells of, unverified; none where it cannot be read."""
    try:
        about = _json(folder / "config.json").get("vigil")
    except CheckpointError:
        about = None  # refused, and forgotten, where everything is verified
    return tuple(file for key, file in FURTHER.items() if isinstance(about, dict) and about.get(key) is not None)


def fill(network: nn.Module, name: str, file: Path, expected: str) -> None:
    """Load a safetensors file with the sha256 `expected` strictly into the network called `name`."""
    if not file.is_file():
        raise CheckpointError(f"{file.name} is missing.")
    # The hash first: what fails it need not be parsed.
    if sha256(file) != expected:
        raise CheckpointError(f"{file.name} is not the file its config.json names (sha256 differs).")
    tensors = {key: t.float() if t.is_floating_point() else t for key, t in read_tensors(file).items()}
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"The weights do not fit the network {name}.") from error


def _json(file: Path) -> dict[str, Any]:
    try:
        size = file.stat().st_size
        content = json.loads(file.read_text(encoding="utf-8")) if size <= MAX_JSON_BYTES else None
    except FileNotFoundError as error:
        raise CheckpointError(f"{file.name} is missing.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file.name} cannot be read as JSON.") from error
    if size > MAX_JSON_BYTES:
        raise CheckpointError(f"{file.name} is too large.")
    if not isinstance(content, dict):
        raise CheckpointError(f"{file.name} is not a JSON object.")
    return content
