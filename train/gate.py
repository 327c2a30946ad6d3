"""Fit the gate of a checkpoint (`src.models.gate`), choose its limit and evaluate it.

    python -m train.gate runs/skin ... --data DIR

The command writes gate.safetensors into checkpoint folders and describes it in their config.json. Training does the
same by itself, so the command is for folders that were trained without a gate. A checkpoint of one source gets
Gaussians of its training images; its limit comes from its own validation images and the other tasks' training images. A
checkpoint of several sources gets the head of `train.gate_head`, which also learns from half of DATA/strange if that
folder exists. Fitting reads no test image, no external set and not the other half of DATA/strange. Only
`evaluate_gate`, for `train.evaluate`, reads those.
"""

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

from src.command_line import runs_networks
from src.models import checkpoints
from src.models.checkpoints import CheckpointError
from src.models.config import GATE_FILE, GateConfig
from src.models.gate import Gate, Gaussian, feature_counts
from src.models.prediction import Prediction
from src.models.predictor import Predictor
from src.pictures import decode
from src.pictures.colour import Background
from src.pictures.picture import ImageRefused, Picture
from src.results.thresholds import proportion_interval
from src.tasks import TASKS, Task
from train import gate_head
from train.data import DataMissing, Sample, load, split_hash
from train.evaluation import metrics
from train.quality import subsample

log = logging.getLogger(__name__)

TRAINING, VALIDATION, OTHERS, PER_SOURCE = 500, 250, 120, 200
"""The largest numbers of images that are read: of the own training split, of the own validation split, of a split of
each other task, and of a split of each source for a checkpoint of several sources."""

AXES = 32
MIN_COLOUR_SPREAD = 0.04  # of 0..1: a display's tint, which a dataset of grey images cannot show
MIN_SPREAD = 0.05  # of the median spread: a feature that hardly varies between training images is no evidence
ACCEPTED = 0.995  # the smallest share of own validation images that the gate must accept
REFUSED = 0.99  # the share of other tasks' training images beyond the gap between the two
INTO_THE_GAP = 0.25  # the limit's position in this gap: images of no task may be nearer than those of other tasks
STRANGE = "strange"
"""The folder in `--data` with images of no task, one subfolder per kind. It may be missing."""


def features(predictor: Predictor, pictures: Iterable[Picture], description: str) -> tuple[Tensor, Tensor]:
    """The `Predictor.gate_features` of the images: statistics (N, features) and network features (N, features)."""
    rows = [predictor.gate_features(one) for one in tqdm(pictures, desc=description, unit="image", leave=False)]
    return torch.cat([row[0] for row in rows]), torch.cat([row[1] for row in rows])


def of_other_tasks(task: Task, data: Path, split: str) -> dict[str, list[Sample]]:
    """Task -> at most OTHERS of its images of a split, for every task with another look. Raises DataMissing."""
    others = [name for name, other in TASKS.items() if other.look != task.look]
    return {name: subsample([s for s in load(name, data) if s.split == split], OTHERS) for name in others}


def fit(
    predictor: Predictor,
    samples: Sequence[Sample],
    others: Mapping[str, Sequence[Sample]],
    strange: Sequence[Picture] = (),
) -> Gate:
    """Fit the gate of a checkpoint.

    `samples` are all samples of its recipe, `others` are training images of other tasks, and `strange` are images of no
    task. Only a head, the gate of several sources, learns from `strange`.
    """
    if len({sample.source for sample in samples}) > 1:
        return _fit_several_sources(predictor, samples, others, strange)
    training = subsample([sample for sample in samples if sample.split == "train"], TRAINING)
    validation = subsample([sample for sample in samples if sample.split == "validation"], VALIDATION)
    strangers = [sample for chosen in others.values() for sample in chosen]
    checkpoint = predictor.checkpoint
    width = feature_counts(checkpoint.network, checkpoint.config.pretrained_cfg.input_size)["network"]

    def features_by_name(chosen: Sequence[Sample], description: str) -> dict[str, Tensor]:
        picture, network = features(predictor, (s.picture() for s in chosen), description)
        return {"picture": picture, "network": network[:, :width]}

    unlimited = gaussians(features_by_name(training, "training"), own := features_by_name(validation, "validation"))
    far = features_by_name(strangers, "other tasks")
    scores = _scores(unlimited, **own)
    accepted = limit(scores, _scores(unlimited, **far))
    unlike_above = min(accepted, float(np.quantile(scores, 1 - gate_head.UNLIKE)))
    config = {**unlimited.config.model_dump(), "limit": accepted, "unlike_above": unlike_above}
    fitted = Gate(GateConfig.model_validate(config))
    fitted.load_state_dict(unlimited.state_dict())
    return fitted.eval()


def _fit_several_sources(
    predictor: Predictor,
    samples: Sequence[Sample],
    others: Mapping[str, Sequence[Sample]],
    strange: Sequence[Picture],
) -> Gate:
    changed = gate_head.another_camera(predictor.task, seed=0)
    own, validation = {}, {}
    for source in dict.fromkeys(sample.source for sample in samples):
        inside = [sample for sample in samples if sample.source == source]
        training = subsample([sample for sample in inside if sample.split == "train"], PER_SOURCE)
        held_out = subsample([sample for sample in inside if sample.split == "validation"], PER_SOURCE)
        own[source] = gate_head.stack_rows(
            [
                features(predictor, (s.picture() for s in training), source),
                features(predictor, (changed(s.picture()) for s in training), f"{source}, by another camera"),
            ]
        )
        validation[source] = gate_head.stack_rows([features(predictor, (s.picture() for s in held_out), source)])
    strangers = [sample for chosen in others.values() for sample in chosen]
    far = [features(predictor, (s.picture() for s in strangers), "other tasks")]
    if strange:
        far.append(features(predictor, strange, "no task"))
        far.append(features(predictor, map(changed, strange), "no task, by another camera"))
    return gate_head.fit(own, validation, gate_head.stack_rows(far))


def gaussians(learned: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Gate:
    """A gate whose limit is still 0, from the features of training images by name.

    The features `own` of validation images standardise its distances.
    """
    tensors, blocks = {}, {}
    for name, rows in learned.items():
        if rows.shape[1]:
            tensors[name] = gaussian(rows.double().numpy(), MIN_SPREADS[name])
            one = Gaussian(rows.shape[1], len(tensors[name]["axes"]))
            one.load_state_dict(tensors[name])
            distances = one(own[name]).double().numpy()
            middle = float(np.median(distances))
            spread = max(float(np.quantile(distances, 0.975) - middle) / 1.96, 1e-3)
            size = {"features": rows.shape[1], "axes": len(tensors[name]["axes"])}
            blocks[name] = {**size, "middle": middle, "spread": spread}
    fitted = Gate(GateConfig.model_validate({**blocks, "limit": 0.0, "sha256": "0" * 64}))
    fitted.load_state_dict({f"gaussians.{name}.{key}": t for name, part in tensors.items() for key, t in part.items()})
    return fitted.eval()


def limit(own: np.ndarray, others: np.ndarray) -> float:
    """The highest accepted score, from the scores of own validation images and of other tasks' training images."""
    accepted, refused = float(np.quantile(own, ACCEPTED)), float(np.quantile(others, 1 - REFUSED))
    return accepted + INTO_THE_GAP * max(0.0, refused - accepted)


MIN_SPREADS = {
    # The first eight features are differences between colours (gate.picture_features).
    "picture": lambda spread: np.where(np.arange(len(spread)) < 8, MIN_COLOUR_SPREAD, MIN_SPREAD * np.median(spread)),
    "network": lambda spread: np.full(len(spread), MIN_SPREAD * np.median(spread)),
}
"""Functions from the features' standard deviations (D,) to the smallest values (D,) that the Gaussian uses for them."""


def gaussian(rows: np.ndarray, min_spread: Any) -> dict[str, Tensor]:
    """The buffers of a `src.models.gate.Gaussian`, from the features `rows` (N, D) of training images."""
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    scale = np.maximum(np.maximum(spread, min_spread(spread)), 1e-6)
    _, singular, directions = np.linalg.svd((rows - mean) / scale, full_matrices=False)
    variances = np.maximum(singular**2 / (len(rows) - 1), 1e-4)
    axes = max(1, min(AXES, len(rows) // 8, rows.shape[1] // 2))
    rest = max(float(variances[axes:].sum()) / max(1, rows.shape[1] - axes), 1e-4)
    arrays = {"mean": mean, "scale": scale, "axes": directions[:axes], "variances": variances[:axes], "rest": [rest]}
    return {name: torch.tensor(np.asarray(array), dtype=torch.float32) for name, array in arrays.items()}


def _scores(gate: Gate, picture: Tensor, network: Tensor) -> np.ndarray:
    with torch.no_grad():
        return gate.scores(picture, network).double().numpy()


def save(gate: Gate, folder: Path) -> dict[str, Any]:
    """Write gate.safetensors into a checkpoint folder; returns the `vigil.gate` block of its config.json."""
    tensors = {name: tensor.contiguous() for name, tensor in gate.state_dict().items()}
    safetensors.torch.save_file(tensors, folder / GATE_FILE, metadata={"format": "pt"})
    return {**gate.config.model_dump(mode="json"), "sha256": checkpoints.sha256(folder / GATE_FILE)}


def write_gate(folder: Path, data: Path, samples: Sequence[Sample] | None = None) -> Gate | None:
    """Fit the gate of the checkpoint in `folder`, write it there and describe it in config.json.

    `samples` are all samples of its recipe; if they are not given, they are loaded. If a dataset of another task is
    missing, the function logs a warning and returns None: a checkpoint serves without a gate, too. Raises
    CheckpointError and DataMissing.
    """
    file = folder / "config.json"
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    vigil = content.get("vigil", {})
    if "recipe" not in vigil:
        raise CheckpointError(f"{folder} is not a checkpoint folder that `python -m train` wrote.")
    if samples is None:
        recipe = vigil["recipe"]
        samples = load(vigil["task"], data, recipe["sources"], recipe.get("resplit"), recipe.get("fold"))
        if split_hash(samples) != vigil["split_sha256"]:
            raise CheckpointError(f"{folder} was trained on another split of the data.")
    predictor = Predictor(checkpoints.load(vigil["task"], folder))
    try:
        others = of_other_tasks(predictor.task, data, "train")
    except DataMissing as missing:
        log.warning("No gate was fitted, because it needs the other tasks' training images. %s", missing)
        return None
    fitted = fit(predictor, samples, others, list(strange_pictures(data, predictor.task.background, learned=True)))
    vigil["gate"] = save(fitted, folder)
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return fitted


def evaluate_gate(
    predictor: Predictor,
    parts: Mapping[str, Sequence[Sample]],
    predictions: Mapping[str, Sequence[Prediction]],
    data: Path,
) -> dict[str, dict[str, Any]]:
    """The gate's entry in evaluation.json for each of `parts` (name -> samples); `predictions` has their predictions.

    An entry has the share of images that the gate refuses. Outside validation it also has the AUROC against each other
    kind of image. The kinds are the other tasks' test images and the subfolders of DATA/strange, without the half that
    the gate learned from. A checkpoint without a gate gives an empty dict.
    """
    gate, task = predictor.checkpoint.gate, predictor.task
    if gate is None:
        return {}

    def scores(pictures: Iterable[Picture], description: str) -> np.ndarray:
        return _scores(gate, *features(predictor, pictures, description))

    entries: dict[str, dict[str, Any]] = {}
    kinds = {}
    for name, other in TASKS.items():
        if name != task.name:
            try:
                strangers = subsample([s for s in load(name, data) if s.split == "test"], OTHERS)
            except DataMissing as missing:
                log.warning("The gate is not evaluated against %s: %s", name, missing)
                continue
            kinds[name] = other.look == task.look, scores((s.picture() for s in strangers), f"gate, {name}")
    for folder in sorted((data / STRANGE).iterdir()) if (data / STRANGE).is_dir() else ():
        if folder.is_dir():
            # "histology_other" holds histology of other kinds, which resembles the images of a task of that look.
            shown, _, others = folder.name.partition("_")
            same_look = others == "other" and shown in task.look
            readable = _readable(folder, task.background, None if gate.head is None else False)
            kinds[f"{STRANGE}/{folder.name}"] = same_look, scores(readable, f"gate, {folder.name}")
    for name, samples in parts.items():
        values = np.array([one.gate.score for one in predictions[name] if one.gate is not None])
        groups = [f"{sample.source}/{sample.group}" for sample in samples]
        entries[name] = {
            "limit": gate.config.limit,
            "n": len(values),
            "refused": metrics.share(values > gate.config.limit, groups),
        }
        if name != "validation":
            entries[name]["against"] = {
                kind: {
                    "n": len(others),
                    "same_look": same_look,
                    "auroc": auroc(values, others),
                    "refused": float((others > gate.config.limit).mean()),
                }
                for kind, (same_look, others) in kinds.items()
                if len(others)
            }
    return entries


def strange_pictures(data: Path, background: Background, learned: bool) -> Iterable[Picture]:
    """The half of the images of no task that a head learns from, or the other half.

    Their transparent parts are filled with `background`.
    """
    folders = sorted((data / STRANGE).iterdir()) if (data / STRANGE).is_dir() else ()
    return (picture for folder in folders if folder.is_dir() for picture in _readable(folder, background, learned))


def _readable(folder: Path, background: Background, learned: bool | None) -> Iterable[Picture]:
    """The images of a folder: all, or (`learned` True or False) the half that a head learns from or the other half.

    The SHA-256 of a file's name decides its half.
    """
    for file in sorted(folder.iterdir()):
        if learned is not None and (hashlib.sha256(file.name.encode()).digest()[0] % 2 == 0) != learned:
            continue
        try:
            yield decode.read(file, background)
        except ImageRefused as refusal:
            log.warning("%s: %s", file.name, refusal)


def auroc(own: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    """The probability that an image of another kind scores higher than an own image, with a 95% interval.

    The interval is the exact one of a proportion, with as many cases as the smaller side has images. A bootstrap of an
    AUROC of 1 would have no width.
    """
    is_other = np.arange(len(own) + len(others)) >= len(own)
    value, n = metrics.auc(is_other, np.concatenate([own, others])), min(len(own), len(others))
    return {"value": value, "interval": list(proportion_interval(value * n, n))}


@runs_networks("gate")
def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 1, with one sentence on standard error, if it fails."""
    parser = argparse.ArgumentParser(prog="python -m train.gate", description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="checkpoint folder")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the datasets")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for folder in options.folders:
        try:
            gate = write_gate(folder, options.data)
        except (OSError, CheckpointError) as error:
            print(error, file=sys.stderr)
            return 1
        if gate is None:
            return 1
        size = (folder / GATE_FILE).stat().st_size
        print(f"{folder}: limit {gate.config.limit:.2f}, {GATE_FILE} {size / 1000:,.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
