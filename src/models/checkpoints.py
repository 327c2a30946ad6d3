"""A checkpoint folder, verified before use, and the networks built from it.

The folder is one of ours, another one, or one from the Hub. It holds config.json, model.safetensors, evaluation.json
and the further files that config.json names. Nothing is unpickled and no code is fetched: the networks are built from
our own lists of names, and their safetensors files are loaded strictly. This module knows nothing of images.
"""

import hashlib
import json
import logging
import os
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import safetensors
import safetensors.torch
import timm
import torch
from pydantic import ValidationError
from torch import nn

from src.models import checkpoint_info, hub
from src.models.architectures import CLASSIFIERS, SEGMENTERS
from src.models.checkpoint_info import CheckpointError, CheckpointInfo
from src.models.config import (
    FILES,
    GATE_FILE,
    LESION_FINDER_FILE,
    Config,
    LesionFinderConfig,
    further_files,
    member_file,
)
from src.models.evaluation import parse
from src.models.gate import Gate
from src.models.hub import HubError
from src.models.lesion_finder import LesionFinder
from src.models.networks import Network

log = logging.getLogger(__name__)

# The largest network here, EfficientNetV2-M with CBAM, is 230 MB in float32.
MAX_WEIGHTS_BYTES = 600 * 2**20
# Its header, with some 1,300 tensors, is 0.2 MB; a 99 MB header takes 1.1 GB to parse (HARDENING.md).
MAX_HEADER_BYTES = 4 * 2**20
MAX_JSON_BYTES = 16 * 2**20
DTYPES = frozenset({"F16", "F32", "I64"})  # I64: batch norm's counters


class Member(NamedTuple):
    """A further network of a checkpoint, in eval mode, float32 and without gradients.

    `finder`: finds the part of an image that it reads; None if it reads the whole scanned field or picture.
    `temperature`: its logits are divided by this before the mean over all networks.
    """

    network: Network
    finder: LesionFinder | None
    temperature: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Checkpoint(CheckpointInfo):
    """A verified checkpoint with its networks.

    `network` is in eval mode, float32 and without gradients; so are the networks of `finder` and `gate`. `finder` finds
    the part of an image that the network reads; it is None if the config names no lesion finder. `gate` decides
    whether an image is of the task's kind; it is None if the config names none. `members`: the networks whose logits
    are averaged with those of `network`.
    """

    network: Network
    finder: LesionFinder | None = None
    gate: Gate | None = None
    members: tuple[Member, ...] = ()

    @property
    def info(self) -> CheckpointInfo:
        """The checkpoint without its networks."""
        return CheckpointInfo(self.config, self.evaluation, self.source, self.revision, self.problem)


def find(task: str, requested: str | None = None) -> Checkpoint:
    """The checkpoint that serves `task` on the page.

    `requested`: "owner/repo", "owner/repo@revision" or a folder. Without it, the environment decides: first
    `VIGIL_WEIGHTS_<TASK>`, then `VIGIL_WEIGHTS_OWNER`. If that checkpoint is missing or does not verify, the reason is
    logged and the embedded default is returned with `problem` set. Raises CheckpointError only if the embedded default
    does not verify.
    """
    owner = os.environ.get("VIGIL_WEIGHTS_OWNER")
    requested = (
        requested or os.environ.get(f"VIGIL_WEIGHTS_{task.upper()}") or (f"{owner}/vigil-{task}" if owner else None)
    )
    if not requested:
        return load(task, checkpoint_info.EMBEDDED / task)
    try:
        return load(task, requested)
    except CheckpointError as error:
        log.warning("%s: the embedded checkpoint serves instead of %s: %s", task, requested, error, exc_info=True)
        problem = f"The weights {requested} could not be used ({error}) The embedded default serves instead."
        return replace(load(task, checkpoint_info.EMBEDDED / task), problem=problem)


def find_further(task: str) -> dict[str, Checkpoint]:
    """The task's further embedded checkpoints, by folder name. One that does not verify is logged and left out."""
    found = {}
    for name in checkpoint_info.further(task):
        try:
            found[name] = load(task, checkpoint_info.EMBEDDED / name)
        except CheckpointError as error:
            log.warning("%s: %s is not offered: %s", task, name, error)
    return found


def load(task: str, where: str | Path) -> Checkpoint:
    """Load and verify one checkpoint of `task`. There is no fallback.

    `where`: a folder, or "owner/repo[@revision]" on the Hub. Raises CheckpointError if the checkpoint is missing or
    does not verify.
    """
    if Path(where).is_dir():
        source = "embedded" if Path(where).resolve().parent == checkpoint_info.EMBEDDED else str(where)
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
        # Damaged files must not stay in the cache, so that the next start fetches them again.
        for name in (*FILES, *_further(folder)):
            (folder / name).resolve().unlink(missing_ok=True)
        raise


def build(architecture: str, num_classes: int, channels: int, **kwargs: Any) -> Network:
    """An untrained network. Nothing is downloaded.

    `architecture`: one of CLASSIFIERS or SEGMENTERS. `num_classes`: the number of outputs per image, or per pixel for a
    segmenter. `channels`: the number of input channels. `kwargs`: `drop_rate` and `drop_path_rate`, if the network has
    them. Raises CheckpointError for any other name, even if timm knows it.
    """
    if architecture not in CLASSIFIERS | SEGMENTERS:
        raise CheckpointError(f"Unknown network {architecture!r}.")
    network = timm.create_model(architecture, pretrained=False, num_classes=num_classes, in_chans=channels, **kwargs)
    return cast(Network, network)


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, by name. Size, header, types and values are checked.

    Raises CheckpointError if the file is not in the safetensors format, is too large, or holds a NaN or an infinity.
    """
    try:
        if not 8 < file.stat().st_size <= MAX_WEIGHTS_BYTES:
            raise CheckpointError(f"{file.name} has an impossible size.")
        with file.open("rb") as stream:
            (header,) = struct.unpack("<Q", stream.read(8))
        if header > MAX_HEADER_BYTES:
            raise CheckpointError(f"{file.name} is not a safetensors file, or its header is too large.")
        with safetensors.safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - it has keys(), but it is no mapping
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
    """The SHA-256 of a file's bytes, 64 hexadecimal digits. Raises OSError if the file cannot be read."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _revision(config: Config) -> str:
    """The revision of a checkpoint that is not from the Hub: `CheckpointInfo` describes it."""
    hashes = [config.vigil.sha256, *(member.sha256 for member in config.vigil.members)]
    return (hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest())[:12]


def _verified(task: str, folder: Path, source: str, commit: str | None = None) -> Checkpoint:
    """The checkpoint in `folder`, after all checks. Raises CheckpointError if one fails."""
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
    region = config.vigil.region
    finder = None if region is None else load_lesion_finder(region, folder)
    members = []
    for number, member in enumerate(config.vigil.members, 1):
        further = build(config.architecture, config.num_classes, config.pretrained_cfg.input_size[0])
        fill(further, config.architecture, folder / member_file(number), member.sha256)
        further.eval().requires_grad_(False)
        members.append(Member(further, finder if member.reads == "lesion" else None, member.temperature))
    gate = None
    if config.vigil.gate is not None:
        gate = Gate(config.vigil.gate)
        fill(gate, "gate", folder / GATE_FILE, config.vigil.gate.sha256)
        gate.eval().requires_grad_(False)
        if not gate.fits(network.eval(), config.pretrained_cfg.input_size):
            raise CheckpointError(f"{GATE_FILE} does not fit the network {config.architecture}.")
    evaluation_file = folder / "evaluation.json"
    figures = _json(evaluation_file) if evaluation_file.is_file() else None
    if figures is not None and figures.get("weights_sha256") != config.vigil.sha256:
        raise CheckpointError("evaluation.json was made from other weights.")
    if figures is not None and figures.get("members_sha256", []) != [member.sha256 for member in config.vigil.members]:
        raise CheckpointError("evaluation.json was made with other members.")
    revision = commit or _revision(config)
    log.info("%s: %s, revision %s", task, source, revision)
    network.eval().requires_grad_(False)
    return Checkpoint(
        config,
        parse(figures),
        source,
        revision,
        network=network,
        finder=finder,
        gate=gate,
        members=tuple(members),
    )


def load_lesion_finder(config: LesionFinderConfig, folder: Path) -> LesionFinder:
    """The lesion finder with the weights in `folder`. Raises CheckpointError if they do not verify."""
    network = build(config.architecture, 1, len(config.mean))
    fill(network, config.architecture, folder / LESION_FINDER_FILE, config.sha256)
    return LesionFinder(network, config)


def _further(folder: Path) -> tuple[str, ...]:
    """The further files that the folder's config.json names. It is not verified yet; none if it cannot be read."""
    try:
        block = _json(folder / "config.json").get("vigil")
    except CheckpointError:
        block = None  # `_verified` refuses it later
    return further_files(block) if isinstance(block, dict) else ()


def fill(network: nn.Module, name: str, file: Path, expected: str) -> None:
    """Load the weights in `file` strictly into `network`, as float32.

    `name`: the network's name, for the error message. `expected`: the file's SHA-256. Raises CheckpointError if the
    file is missing, does not verify or does not fit the network.
    """
    if not file.is_file():
        raise CheckpointError(f"{file.name} is missing.")
    # The hash is checked first, so that a file with another hash is never parsed.
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
