"""What tells whether a picture is of a checkpoint's kind at all (`src.models.gate`): fitted, its limit chosen, and
measured.

    python -m train.gate runs/skin ... --data DIR

writes gate.safetensors into checkpoint folders that were trained without, and names it in their config.json; training
does so by itself. A checkpoint of one source gets Gaussians of its own training pictures, with a limit from its own
validation pictures and the other tasks' training pictures; one of several sources gets the head of `train.kind`, which
also learns from a half of DATA/strange where that is there. No test picture, external set or other picture of no task
is read for that. `measured`, for `train.evaluate`, is where those are looked at.
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

from src.models import checkpoints
from src.models.checkpoints import CheckpointError
from src.models.config import GATE_FILE, GateConfig
from src.models.gate import Gate, Gaussian, feature_counts
from src.models.prediction import Prediction
from src.models.predictor import Predictor
from src.pictures import decode
from src.pictures.picture import ImageRefused, Picture
from src.results.thresholds import proportion_interval
from src.tasks import TASKS, Task
from train import kind
from train.data import DataMissing, Sample, load, split_hash
from train.evaluation import metrics
from train.quality import subsample

log = logging.getLogger(__name__)

TRAINING, VALIDATION, OTHERS, EACH = 500, 250, 120, 200
"""At most so many pictures are read of the own training and validation splits, of a split of each other task, and, of
a checkpoint of several sources, of a split of each source."""

AXES = 32
LEAST_COLOUR = 0.04  # of 0..1: a display's tint; sets that are all grey say nothing of it
LEAST_SPREAD = 0.05  # of the median: a channel that hardly differs between training pictures is no evidence
ACCEPTED = 0.995  # of own validation pictures, at least
REFUSED = 0.99  # of other tasks' training pictures, where that leaves a gap between the two
INTO_THE_GAP = 0.25  # how far into the gap the limit lies: pictures of no task may be nearer than other tasks' are
STRANGE = "strange"
"""The folder in `--data` with pictures of no task, by kind; only measured with, and only where it is there."""


def features(predictor: Predictor, pictures: Iterable[Picture], description: str) -> tuple[Tensor, Tensor]:
    """`Predictor.gate_features` of the pictures, one below the other."""
    rows = [predictor.gate_features(one) for one in tqdm(pictures, desc=description, unit="image", leave=False)]
    return torch.cat([row[0] for row in rows]), torch.cat([row[1] for row in rows])


def of_other_tasks(task: Task, data: Path, split: str) -> dict[str, list[Sample]]:
    """Task -> a sample of its pictures of a split, of every task that looks otherwise. Raises DataMissing."""
    others = [name for name, other in TASKS.items() if other.look != task.look]
    return {name: subsample([s for s in load(name, data) if s.split == split], OTHERS) for name in others}


def fit(
    predictor: Predictor,
    samples: Sequence[Sample],
    others: Mapping[str, Sequence[Sample]],
    strange: Sequence[Picture] = (),
) -> Gate:
    """The gate of a checkpoint; `samples` are all its recipe's, `others` training pictures of other tasks, `strange`
    pictures of no task, from which only the head of several sources learns."""
    if len({sample.source for sample in samples}) > 1:
        return _of_several_sources(predictor, samples, others, strange)
    training = subsample([sample for sample in samples if sample.split == "train"], TRAINING)
    validation = subsample([sample for sample in samples if sample.split == "validation"], VALIDATION)
    strangers = [sample for chosen in others.values() for sample in chosen]
    checkpoint = predictor.checkpoint
    width = feature_counts(checkpoint.network, checkpoint.config.pretrained_cfg.input_size)["network"]

    def blocks(chosen: Sequence[Sample], what: str) -> dict[str, Tensor]:
        picture, network = features(predictor, (s.picture() for s in chosen), what)
        return {"picture": picture, "network": network[:, :width]}

    learned, own, far = (
        blocks(training, "training"),
        blocks(validation, "validation"),
        blocks(strangers, "other tasks"),
    )
    made = gaussians(learned, own)
    config = {**made.config.model_dump(), "limit": limit(_scores(made, **own), _scores(made, **far))}
    fitted = Gate(GateConfig.model_validate(config))
    fitted.load_state_dict(made.state_dict())
    return fitted.eval()


def _of_several_sources(
    predictor: Predictor,
    samples: Sequence[Sample],
    others: Mapping[str, Sequence[Sample]],
    strange: Sequence[Picture],
) -> Gate:
    changed = kind.another_camera(predictor.task, seed=0)
    own, validation = {}, {}
    for source in dict.fromkeys(sample.source for sample in samples):
        inside = [sample for sample in samples if sample.source == source]
        training = subsample([sample for sample in inside if sample.split == "train"], EACH)
        held_out = subsample([sample for sample in inside if sample.split == "validation"], EACH)
        own[source] = kind.stack_rows(
            [
                features(predictor, (s.picture() for s in training), source),
                features(predictor, (changed(s.picture()) for s in training), f"{source}, by another camera"),
            ]
        )
        validation[source] = kind.stack_rows([features(predictor, (s.picture() for s in held_out), source)])
    strangers = [sample for chosen in others.values() for sample in chosen]
    far = [features(predictor, (s.picture() for s in strangers), "other tasks")]
    if strange:
        far.append(features(predictor, strange, "no task"))
        far.append(features(predictor, map(changed, strange), "no task, by another camera"))
    return kind.fit(own, validation, kind.stack_rows(far))


def gaussians(learned: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Gate:
    """A gate without a limit yet, from training pictures' features by name, standardised by validation pictures'."""
    tensors, blocks = {}, {}
    for name, found in learned.items():
        if found.shape[1]:
            tensors[name] = gaussian(found.double().numpy(), LEAST[name])
            made = Gaussian(found.shape[1], len(tensors[name]["axes"]))
            made.load_state_dict(tensors[name])
            distances = made(own[name]).double().numpy()
            middle = float(np.median(distances))
            spread = max(float(np.quantile(distances, 0.975) - middle) / 1.96, 1e-3)
            size = {"features": found.shape[1], "axes": len(tensors[name]["axes"])}
            blocks[name] = {**size, "middle": middle, "spread": spread}
    fitted = Gate(GateConfig.model_validate({**blocks, "limit": 0.0, "sha256": "0" * 64}))
    fitted.load_state_dict({f"gaussians.{name}.{key}": t for name, part in tensors.items() for key, t in part.items()})
    return fitted.eval()


def limit(own: np.ndarray, others: np.ndarray) -> float:
    """Up to which score a picture is accepted, from the scores of own validation pictures and of other tasks'."""
    accepted, refused = float(np.quantile(own, ACCEPTED)), float(np.quantile(others, 1 - REFUSED))
    return accepted + INTO_THE_GAP * max(0.0, refused - accepted)


LEAST = {
    # The first eight are the colour differences' (gate.picture_features).
    "picture": lambda spread: np.where(np.arange(len(spread)) < 8, LEAST_COLOUR, LEAST_SPREAD * np.median(spread)),
    "network": lambda spread: np.full(len(spread), LEAST_SPREAD * np.median(spread)),
}
"""Below what no feature's standard deviation is taken to be, (D,), from those that were found."""


def gaussian(found: np.ndarray, least: Any) -> dict[str, Tensor]:
    """The buffers of a `src.models.gate.Gaussian` from training pictures' features (N, D)."""
    mean, spread = found.mean(axis=0), found.std(axis=0)
    scale = np.maximum(np.maximum(spread, least(spread)), 1e-6)
    _, singular, directions = np.linalg.svd((found - mean) / scale, full_matrices=False)
    variances = np.maximum(singular**2 / (len(found) - 1), 1e-4)
    axes = max(1, min(AXES, len(found) // 8, found.shape[1] // 2))
    rest = max(float(variances[axes:].sum()) / max(1, found.shape[1] - axes), 1e-4)
    arrays = {"mean": mean, "scale": scale, "axes": directions[:axes], "variances": variances[:axes], "rest": [rest]}
    return {name: torch.tensor(np.asarray(array), dtype=torch.float32) for name, array in arrays.items()}


def _scores(made: Gate, picture: Tensor, network: Tensor) -> np.ndarray:
    with torch.no_grad():
        return made.scores(picture, network).double().numpy()


def save(made: Gate, folder: Path) -> dict[str, Any]:
    """Write gate.safetensors into a checkpoint folder; returns what its config says of it."""
    tensors = {name: tensor.contiguous() for name, tensor in made.state_dict().items()}
    safetensors.torch.save_file(tensors, folder / GATE_FILE, metadata={"format": "pt"})
    about = made.config.model_dump(mode="json")
    return {**about, "sha256": checkpoints.sha256(folder / GATE_FILE)}


def write_gate(folder: Path, data: Path, samples: Sequence[Sample] | None = None) -> Gate | None:
    """Fit the gate of the checkpoint in `folder`, write it there and name it in config.json.

    `samples` are all of its recipe's, read anew where not given. None, with a line in the log, where the other tasks'
    sets are not all there: a checkpoint without a gate serves as well. Raises CheckpointError and DataMissing.
    """
    file = folder / "config.json"
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    vigil = content.get("vigil", {})
    if "recipe" not in vigil:
        raise CheckpointError(f"{folder} is not a checkpoint folder that `python -m train` wrote.")
    if samples is None:
        samples = load(vigil["task"], data, vigil["recipe"]["sources"], vigil["recipe"].get("resplit"))
        if split_hash(samples) != vigil["split_sha256"]:
            raise CheckpointError(f"{folder} was trained on data that is split otherwise.")
    predictor = Predictor(checkpoints.load(vigil["task"], folder))
    try:
        others = of_other_tasks(predictor.task, data, "train")
    except DataMissing as missing:
        log.warning("No gate: it takes the other tasks' training pictures. %s", missing)
        return None
    made = fit(predictor, samples, others, list(_strange(data, learned=True)))
    vigil["gate"] = save(made, folder)
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return made


def evaluate_gate(
    predictor: Predictor,
    parts: Mapping[str, Sequence[Sample]],
    answered: Mapping[str, Sequence[Prediction]],
    data: Path,
) -> dict[str, dict[str, Any]]:
    """What evaluation.json says of the gate, for each of `parts` (name -> samples), of which `answered` has the
    predictions: the share refused, and for all but validation the AUROC against each kind of other picture. Empty for a
    checkpoint without a gate.

    Kinds: the other tasks' test pictures, and the folders of DATA/strange where that is there, without the half that
    the gate learned from.
    """
    keeper, task = predictor.checkpoint.gate, predictor.task
    if keeper is None:
        return {}

    def scores(pictures: Iterable[Picture], description: str) -> np.ndarray:
        return _scores(keeper, *features(predictor, pictures, description))

    found: dict[str, dict[str, Any]] = {}
    kinds = {}
    for name, other in TASKS.items():
        if name != task.name:
            try:
                strangers = subsample([s for s in load(name, data) if s.split == "test"], OTHERS)
            except DataMissing as missing:
                log.warning("The gate is not measured against %s: %s", name, missing)
                continue
            kinds[name] = other.look == task.look, scores((s.picture() for s in strangers), f"gate, {name}")
    for folder in sorted((data / STRANGE).iterdir()) if (data / STRANGE).is_dir() else ():
        if folder.is_dir():
            near = folder.name.endswith("_other")
            readable = _readable(folder, None if keeper.head is None else False)
            kinds[f"{STRANGE}/{folder.name}"] = near, scores(readable, f"gate, {folder.name}")
    for name, samples in parts.items():
        values = np.array([answer.gate.score for answer in answered[name] if answer.gate is not None])
        groups = [f"{sample.source}/{sample.group}" for sample in samples]
        found[name] = {
            "limit": keeper.config.limit,
            "n": len(values),
            "refused": metrics.share(values > keeper.config.limit, groups),
        }
        if name != "validation":
            found[name]["against"] = {
                kind: {
                    "n": len(theirs),
                    "same_look": near,
                    "auroc": auroc(values, theirs),
                    "refused": float((theirs > keeper.config.limit).mean()),
                }
                for kind, (near, theirs) in kinds.items()
                if len(theirs)
            }
    return found


def _strange(data: Path, learned: bool) -> Iterable[Picture]:
    """The pictures of no task that a head learns from, or the others."""
    folders = sorted((data / STRANGE).iterdir()) if (data / STRANGE).is_dir() else ()
    return (picture for folder in folders if folder.is_dir() for picture in _readable(folder, learned))


def _readable(folder: Path, learned: bool | None) -> Iterable[Picture]:
    """The pictures of a folder, or the half of them that a head learns from or does not, by the SHA-256 of its name."""
    for file in sorted(folder.iterdir()):
        if learned is not None and (hashlib.sha256(file.name.encode()).digest()[0] % 2 == 0) != learned:
            continue
        try:
            yield decode.read(file)
        except ImageRefused as refusal:
            log.warning("%s: %s", file.name, refusal)


def auroc(own: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    """How often another picture scores higher than an own one, with a 95% interval.

    The exact one of a share of as many cases as the smaller side has pictures: a bootstrap of an AUROC of 1 would have
    no width.
    """
    strange = np.arange(len(own) + len(others)) >= len(own)
    value, n = metrics.auc(strange, np.concatenate([own, others])), min(len(own), len(others))
    return {"value": value, "interval": list(proportion_interval(value * n, n))}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status, 1 with one sentence on standard error where it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m train.gate", description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="checkpoint folder")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for folder in options.folders:
        try:
            made = write_gate(folder, options.data)
        except (OSError, CheckpointError) as error:
            print(error, file=sys.stderr)
            return 1
        if made is None:
            return 1
        size = (folder / GATE_FILE).stat().st_size
        print(f"{folder}: limit {made.config.limit:.2f}, {GATE_FILE} {size / 1000:,.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
