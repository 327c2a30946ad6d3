"""Write a checkpoint folder from trained tensors: model.safetensors and config.json (docs/ARCHITECTURE.md).

    python -m train.release checkpoints/skin ...

The command writes the golden probabilities of checkpoint folders again. These are the probabilities for the drawn
examples, which the tests compare with those of the page, the API, `score` and plain timm. Training writes them by
itself. The command is needed only after new examples, or after a change that is meant to change predictions.

The temperature and the default threshold are chosen here on validation, with the Predictor that the app uses, too.
`train.evaluate` writes evaluation.json. This module knows nothing of how the tensors were trained.
"""

import argparse
import json
import logging
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from src.command_line import runs_networks
from src.models import checkpoints
from src.models.config import GATE_FILE, PretrainedConfig
from src.models.prediction import Prediction
from src.models.predictor import Predictor
from src.models.probabilities import calibrated
from src.results.thresholds import highest_threshold
from src.tasks import TASKS
from train.data import SOURCES, Sample, split_hash
from train.evaluation import metrics
from train.training.recipe import LogisticRecipe, Recipe

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parent.parent
GOLDEN_TOLERANCE = 1e-3
"""The largest accepted difference to a golden probability. Processors and libjpeg builds round differently."""


def predict_logits(predictor: Predictor, samples: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray]:
    """The Predictor's class logits before calibration, float64 (N, C), and the labels (N,) of `samples`."""
    rows = []
    for prediction in predictor.predict_many(sample.picture() for sample in samples):
        if not isinstance(prediction, Prediction):
            raise prediction
        rows.append(prediction.logits)
    return np.array(rows), np.array([sample.label for sample in samples])


def write_checkpoint(
    out: Path,
    recipe: Recipe | LogisticRecipe,
    config: PretrainedConfig,
    num_classes: int,
    tensors: Mapping[str, Tensor],
    samples: Sequence[Sample],
    history: Sequence[Mapping[str, Any]],
    region: Mapping[str, Any] | None = None,
) -> None:
    """Write the checkpoint folder `out`: float16 weights, then temperature and default threshold from validation.

    `tensors` is the network's whole state dict. `samples` are all of the recipe's; only the validation split is read.
    `history` has the metrics of every epoch. `region` describes the lesion finder in the folder, as
    `train.training.segmentation.copy` returned it. Raises ValueError for weights that float16 cannot hold.
    """
    out.mkdir(parents=True, exist_ok=True)
    # These files describe earlier weights.
    for stale in ("evaluation.json", "README.md", GATE_FILE):
        (out / stale).unlink(missing_ok=True)
    own_config = checkpoints.build(recipe.architecture, num_classes, config.input_size[0]).pretrained_cfg
    halved = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous() for name, tensor in tensors.items()
    }
    if not all(torch.isfinite(tensor).all() for tensor in halved.values() if tensor.is_floating_point()):
        raise ValueError("The weights are too large for float16.")
    _save(out, halved)
    vigil = _vigil_block(recipe, samples, checkpoints.sha256(out / "model.safetensors"), history, region)
    content = {
        "architecture": recipe.architecture,
        "num_classes": num_classes,
        "label_names": list(TASKS[recipe.task].codes),
        "pretrained_cfg": {
            **config.model_dump(mode="json"),
            "num_classes": num_classes,
            # timm needs these to give the network another classifier or other channels.
            **{key: own_config[key] for key in ("first_conv", "classifier", "fixed_input_size")},
        },
        "model_args": {"in_chans": config.input_size[0]},
        "vigil": vigil,
    }
    write_json(out / "config.json", content)
    validation = [sample for sample in samples if sample.split == "validation"]
    logits, labels = predict_logits(Predictor(checkpoints.load(recipe.task, out)), validation)
    if isinstance(recipe, Recipe) and recipe.calibrate_bias:
        # The classifier's own bias takes the correction, so that everyone who loads the weights has it.
        bias = f"{own_config['classifier']}.bias"
        before = halved[bias].double()
        halved[bias] = (before + torch.from_numpy(metrics.fit_bias(logits, labels))).half()
        logits = logits + (halved[bias].double() - before).numpy()
        _save(out, halved)
        vigil["sha256"] = checkpoints.sha256(out / "model.safetensors")
    calibrate(vigil, recipe, logits, [sample.source for sample in validation], labels)
    write_json(out / "config.json", content)
    write_golden(out)
    log.info("temperature %.3f, default threshold %.3f", vigil["temperature"], vigil["default_threshold"])


def _vigil_block(
    recipe: Recipe | LogisticRecipe,
    samples: Sequence[Sample],
    weights_sha256: str,
    history: Sequence[Mapping[str, Any]],
    region: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The `vigil` block of config.json before calibration."""
    task = TASKS[recipe.task]
    return {
        "task": task.name,
        "name": recipe.name,
        "recipe": recipe.model_dump(mode="json"),
        "seed": recipe.seed,
        "code_version": code_version(),
        "data": [
            {"name": SOURCES[name].title, "licence": SOURCES[name].licence, "citation": SOURCES[name].citation}
            for name in recipe.sources
        ],
        "split_sha256": split_hash(samples),
        "sha256": weights_sha256,
        "temperature": 1.0,
        "test_time_augmentation": recipe.test_time_augmentation if isinstance(recipe, Recipe) else "none",
        "default_threshold": task.default_threshold if task.default_threshold is not None else 0.5,
        "history": list(history),
        "region": region,
    }


def calibrate(
    vigil: dict[str, Any],
    recipe: Recipe | LogisticRecipe,
    logits: np.ndarray,
    sources: Sequence[str],
    labels: np.ndarray,
) -> None:
    """Set the temperature and the default threshold in `vigil`, the block of a config.json.

    `logits` (N, C), `sources` and `labels` (N,) are validation's. The logits come from the Predictor with the float16
    weights, so that the calibrated model is the released one.
    """
    task = TASKS[recipe.task]
    vigil["temperature"] = metrics.fit_temperature(logits, labels)
    if isinstance(recipe, Recipe) and recipe.refer_at_least is not None:
        scores = metrics.p_malignant(task, calibrated(logits, vigil["temperature"]))
        wanted = metrics.is_malignant(task, labels)
        if recipe.refer_code is not None:
            wanted &= labels == task.codes.index(recipe.refer_code)
        vigil["default_threshold"] = default_threshold(
            scores[wanted].tolist(),
            [source for source, chosen in zip(sources, wanted, strict=True) if chosen],
            recipe.refer_at_least,
        )


def default_threshold(scores: Sequence[float], sources: Sequence[str], share: float) -> float:
    """The highest threshold, in thousandths, that refers at least `share` (0 to 1) of each source's `scores`.

    The source that the model reads worst decides: if scores were pooled, a large source could hide misses in a small
    one. Raises ValueError without a score.
    """
    by_source: dict[str, list[float]] = defaultdict(list)
    for score, source in zip(scores, sources, strict=True):
        by_source[source].append(score)
    if not by_source:
        raise ValueError("Validation has no image to choose the default threshold on.")
    # Rounded down, so that rounding never loses a cancer that the threshold was chosen to refer.
    return min(int(highest_threshold(source_scores, share) * 1000) / 1000 for source_scores in by_source.values())


def golden_predictions(predictor: Predictor) -> dict[str, list[float]]:
    """The probability of each class for each of the task's drawn examples, if there are any, by file name."""
    pictures = sorted((ROOT / "examples" / predictor.task.name).glob("*"))
    return {picture.name: [round(p, 6) for p in predictor.predict(picture).probabilities] for picture in pictures}


def write_golden(folder: Path) -> None:
    """Write the checkpoint's present probabilities for the examples into its config.json. Raises CheckpointError."""
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    content["vigil"]["golden"] = golden_predictions(Predictor(checkpoints.load(content["vigil"]["task"], folder)))
    write_json(folder / "config.json", content)


def _save(out: Path, tensors: dict[str, Tensor]) -> None:
    safetensors.torch.save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})


def code_version() -> str:
    """The current commit, followed by "+changes" if `src` or `train` has uncommitted ones; "unknown" outside git."""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--", "src", "train"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+changes" if changed else "")


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as a checkpoint folder's files of JSON are written."""
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@runs_networks("release")
def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 1, with one sentence on standard error, if it fails."""
    parser = argparse.ArgumentParser(
        prog="python -m train.release", description="Write the golden probabilities again."
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="checkpoint folder")
    for folder in parser.parse_args(arguments).folders:
        try:
            write_golden(folder)
        except (OSError, checkpoints.CheckpointError) as error:
            print(error, file=sys.stderr)
            return 1
        print(f"{folder}: golden probabilities written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
