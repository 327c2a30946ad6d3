"""Cross-validated members of one recipe:

    python -m train.members skin --data DIR --out runs/skin-members --pretrained hub

splits all groups that are not test into folds; each fold's network is a member, in its own checkpoint folder
OUT/fold-N. Every picture is read once by the member that did not learn from it (out of fold): calibration, default
threshold and what sensitivity can be promised come from all of these, written to OUT/members.json. Killed at any
moment, the same command goes on.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from src.models import checkpoints
from src.models.checkpoints import CheckpointError
from src.models.evaluation import TARGETS
from src.models.predictor import Predictor
from src.models.probabilities import calibrated
from src.results.thresholds import promise
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
    """Train the members into `out` and read each fold by its own: (samples, class logits float64 (N, C) before any
    calibration, the fold of each sample).

    A fold chooses nothing of its member, neither epoch nor bias. Raises what `learning.learn` raises.
    """
    recipe = recipe.model_copy(update={"select_by": "last", "calibrate_bias": False})
    held_out: list[Sample] = []
    logits: list[np.ndarray] = []
    fold_of: list[int] = []
    for fold, cut in enumerate(splits.folded(samples, folds)):
        folder = out / f"fold-{fold}"
        kept = folder / learning.TRAINING / "out_of_fold.npz"
        inside = [sample for sample in cut if sample.split == "validation"]
        names = [f"{sample.source}/{sample.name}" for sample in inside]
        if not kept.is_file():
            learning.learn(recipe, cut, folder, start)
            found, _ = release.read_all(Predictor(checkpoints.load(recipe.task, folder)), inside)
            np.savez(kept, names=names, logits=found)
        with np.load(kept) as stored:
            if stored["names"].tolist() != names:
                raise CheckpointError(f"{kept} is of other folds; give another --out.")
            logits.append(stored["logits"])
        held_out += inside
        fold_of += len(inside) * [fold]
    return held_out, np.concatenate(logits), fold_of


def evaluate_members(
    recipe: Recipe, samples: Sequence[Sample], logits: np.ndarray, fold_of: Sequence[int]
) -> dict[str, Any]:
    """Calibration and default threshold from out-of-fold logits (N, C), the metrics they make, pooled and of each fold,
    and the sensitivities that so many cases can promise."""
    task, labels, folds = TASKS[recipe.task], np.array([sample.label for sample in samples]), np.array(fold_of)
    bias = metrics.fit_bias(logits, labels) if recipe.calibrate_bias else np.zeros(len(task.codes))
    temperature = metrics.fit_temperature(logits + bias, labels)
    probabilities = calibrated(logits + bias, temperature)
    scores = metrics.p_malignant(task, probabilities).round(evaluate.DECIMALS)
    threshold = task.default_threshold
    if recipe.refer_at_least is not None:
        wanted = metrics.is_malignant(task, labels)
        if recipe.refer_code is not None:
            wanted &= labels == task.codes.index(recipe.refer_code)
        chosen = np.flatnonzero(wanted).tolist()
        threshold = release.default_threshold(
            scores[chosen].tolist(), [samples[i].source for i in chosen], recipe.refer_at_least
        )
    groups = [f"{sample.source}/{sample.group}" for sample in samples]
    by_group = evaluate.threshold_tables(task, labels, scores, groups)["malignant"]
    promises = {str(target): promise(by_group, target).threshold for target in TARGETS}
    return {
        "bias": bias.tolist(),
        "temperature": temperature,
        "default_threshold": threshold,
        "promised_from_threshold": promises,
        "pooled": metrics.point_estimates(task, probabilities, labels),
        "sources": _apart(task, probabilities, labels, [sample.source for sample in samples]),
        "folds": _apart(task, probabilities, labels, folds.tolist()),
    }


def _apart(
    task: Task, probabilities: np.ndarray, labels: np.ndarray, parts: Sequence[Any]
) -> dict[str, dict[str, float]]:
    found = {}
    for part in sorted(set(parts)):
        rows = np.flatnonzero(np.array(parts) == part)
        found[str(part)] = {"n": len(rows), **metrics.point_estimates(task, probabilities[rows], labels[rows])}
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status, 1 with one sentence on standard error where it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m train.members", description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="a name in train/recipes or a YAML file")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder of the members, fold-0 and so on")
    parser.add_argument("--folds", type=int, default=FOLDS, help=f"default {FOLDS}")
    parser.add_argument("--pretrained", default="none", metavar="hub|FILE|none", help="ImageNet weights (default none)")
    parser.add_argument("--region", type=Path, metavar="DIR", help="what ultrasound-region wrote, for lesion_crops")
    parser.add_argument("--workers", type=int, help="processes that augment (default: one less than the cores)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        recipe = recipes.load(options.recipe)
        if not isinstance(recipe, Recipe):
            raise RecipeError(f"{options.recipe} is no recipe of a network.")
        samples = load(recipe.task, options.data, recipe.sources, recipe.resplit)
        start = learning.Start(options.pretrained, options.region, resume=True, workers=options.workers)
        found = evaluate_members(recipe, *out_of_fold(recipe, samples, options.folds, options.out, start))
    except (RecipeError, DataMissing, CheckpointError, loop.TrainingError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    content = evaluate.round_figures(found)
    (options.out / "members.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: content[key] for key in ("default_threshold", "pooled")}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
