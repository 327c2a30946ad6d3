"""Cross-validate a recipe: train one network per fold.

    python -m train.members skin-sources-start --data DIR --out runs/skin-members --pretrained hub

The command splits all groups outside the test split into folds. For each fold it trains a member on the other folds, in
the checkpoint folder OUT/fold-N. Such a folder can be evaluated and released like any other: its validation split is
its fold. Each member predicts its own fold, so every image gets one out-of-fold prediction. The calibration, the
default threshold and the promised sensitivities come from these predictions and are written to OUT/members.json. With
`--into`, they also go into `out_of_fold` in the evaluation.json of a checkpoint, and its cards show them. A run may be
killed at any moment; the same command continues it. A recipe with `lesion_crops` also needs `--region`.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from src.command_line import runs_networks
from src.models import checkpoints
from src.models.checkpoints import CheckpointError
from src.models.evaluation import TARGETS
from src.models.predictor import Predictor
from src.models.probabilities import calibrated
from src.results.thresholds import Promise, promise
from src.tasks import TASKS, Task
from train import evaluate, learning, release
from train.data import DataMissing, Sample, load, splits
from train.evaluation import metrics
from train.training import loop
from train.training import recipe as recipes
from train.training.recipe import Recipe, RecipeError

FOLDS = 5


def out_of_fold(
    recipe: Recipe, samples: Sequence[Sample], folds: int, out: Path, start: learning.Start
) -> tuple[list[Sample], np.ndarray, list[int]]:
    """Train the members into `out` and predict each fold with its own member.

    Returns the samples, their class logits before calibration, float64 (N, C), and the fold of each sample. A fold
    chooses neither the epoch nor the bias of its member. Raises the errors of `learning.learn`.
    """
    recipe = recipe.model_copy(update={"select_by": "last", "calibrate_bias": False})
    held_out: list[Sample] = []
    logits: list[np.ndarray] = []
    fold_of: list[int] = []
    for fold, resplit in enumerate(splits.folded(samples, folds)):
        folder = out / f"fold-{fold}"
        file = folder / learning.TRAINING / "out_of_fold.npz"
        inside = [sample for sample in resplit if sample.split == "validation"]
        names = [f"{sample.source}/{sample.name}" for sample in inside]
        if not file.is_file():
            learning.learn(recipe.model_copy(update={"fold": (fold, folds)}), resplit, folder, start)
            fold_logits, _ = release.predict_logits(Predictor(checkpoints.load(recipe.task, folder)), inside)
            np.savez(file, names=names, logits=fold_logits)
        with np.load(file) as stored:
            if stored["names"].tolist() != names:
                raise CheckpointError(f"{file} belongs to other folds; give another --out.")
            logits.append(stored["logits"])
        held_out += inside
        fold_of += len(inside) * [fold]
    return held_out, np.concatenate(logits), fold_of


def evaluate_members(
    recipe: Recipe, samples: Sequence[Sample], logits: np.ndarray, fold_of: Sequence[int]
) -> dict[str, Any]:
    """Calibration, default threshold and promised sensitivities from out-of-fold logits (N, C).

    The metrics with this calibration are given for all samples together, for each source and for each fold. "promised"
    has, for each target, the highest threshold that proves it by groups; None if none does.
    """
    task, labels, folds = TASKS[recipe.task], np.array([sample.label for sample in samples]), np.array(fold_of)
    bias = metrics.fit_bias(logits, labels) if recipe.calibrate_bias else np.zeros(len(task.codes))
    sources = [sample.source for sample in samples]
    vigil: dict[str, Any] = {"default_threshold": task.default_threshold}
    release.calibrate(vigil, recipe, logits + bias, sources, labels)
    threshold = vigil["default_threshold"]
    probabilities = calibrated(logits + bias, vigil["temperature"])
    scores = metrics.p_malignant(task, probabilities).round(evaluate.DECIMALS)
    groups = [f"{sample.source}/{sample.group}" for sample in samples]
    by_group = evaluate.threshold_tables(task, labels, scores, groups)["malignant"]
    return {
        "bias": bias.tolist(),
        **vigil,
        **evaluate.counts(task, samples),
        **evaluate.metrics_at(task, labels, probabilities, groups, threshold),
        "promised": {f"{target:g}": _promised(promise(by_group, target)) for target in TARGETS},
        "by_source": _per_part(task, probabilities, labels, sources),
        "by_fold": _per_part(task, probabilities, labels, folds.tolist()),
    }


def _promised(found: Promise) -> dict[str, Any] | None:
    if found.threshold is None:
        return None
    return {"threshold": found.threshold, "found": found.found, "positives": found.positives}


def _per_part(
    task: Task, probabilities: np.ndarray, labels: np.ndarray, parts: Sequence[Any]
) -> dict[str, dict[str, float]]:
    found = {}
    for part in sorted(set(parts)):
        rows = np.flatnonzero(np.array(parts) == part)
        found[str(part)] = {"n": len(rows), **metrics.point_estimates(task, probabilities[rows], labels[rows])}
    return found


@runs_networks("members")
def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 1, with one sentence on standard error, if it fails."""
    parser = argparse.ArgumentParser(prog="python -m train.members", description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="name in train/recipes, or a YAML file")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the datasets")
    parser.add_argument("--out", type=Path, required=True, help="folder of the members: fold-0, fold-1, …")
    parser.add_argument("--folds", type=int, default=FOLDS, help=f"number of folds (default {FOLDS})")
    parser.add_argument("--pretrained", default="none", metavar="hub|FILE|none", help="ImageNet weights (default none)")
    parser.add_argument("--region", type=Path, metavar="DIR", help="lesion finder, for lesion_crops")
    parser.add_argument("--workers", type=int, help="processes that augment (default: one less than the cores)")
    parser.add_argument("--into", type=Path, metavar="DIR", help="evaluated checkpoint folder that gets the figures")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        recipe = recipes.load(options.recipe)
        if not isinstance(recipe, Recipe):
            raise RecipeError(f"{options.recipe} is not a recipe of a network.")
        samples = load(recipe.task, options.data, recipe.sources, recipe.resplit, recipe.fold)
        start = learning.Start(options.pretrained, options.region, resume=True, workers=options.workers)
        found = evaluate_members(recipe, *out_of_fold(recipe, samples, options.folds, options.out, start))
        content = {"recipe": Path(options.recipe).stem} | evaluate.round_figures(found)
        (options.out / "members.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        if options.into is not None:
            evaluate.add_to_evaluation(options.into, {"out_of_fold": content})
    except (RecipeError, DataMissing, CheckpointError, loop.TrainingError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    for name, value in content["metrics"].items():
        print(f"{name:<20}{evaluate.metric_text(value)}")
    for target, promised in content["promised"].items():
        print(f"{target} sensitivity: " + (f"from {promised['threshold']:g}" if promised else "cannot be promised"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
