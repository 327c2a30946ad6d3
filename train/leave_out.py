"""Evaluate a recipe on each source of its task after training without that source.

    python -m train.leave_out skin-sources-start --data DIR --out runs/left-out --pretrained hub --into checkpoints/skin

For each source, the command trains the recipe on all other sources and fits a gate to them. Networks of several recipes
are combined, as `train.combine` does. That model predicts the images of the missing source, except its test split:
recipes are chosen by these figures, so the test split stays unread. If a source's metadata has a column `dataset`, each
of its collections is left out by itself. The figures are written to `left_out` in the evaluation.json of `--into`, and
its cards show them. A run may be killed at any moment; the same command continues it.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from src.command_line import runs_networks
from src.models import checkpoints
from src.models.checkpoints import CheckpointError
from src.models.evaluation import TARGETS
from src.models.predictor import Predictor
from src.results import thresholds
from train import combine, evaluate, gate, learning
from train.data import SOURCES, DataMissing, Sample, load
from train.evaluation import metrics
from train.training import loop
from train.training import recipe as recipes
from train.training.recipe import Recipe, RecipeError


def collection(sample: Sample) -> str:
    """The unit that is left out: the sample's source, or a clinic's own collection within it if the source names it."""
    clinic = sample.meta.get("dataset")
    return f"{sample.source}/{clinic}" if clinic else sample.source


def split_off(samples: Sequence[Sample], left_out: str) -> tuple[list[Sample], list[Sample]]:
    """The samples to train on and the samples to evaluate, if the collection `left_out` is left out of training.

    The training samples keep their splits. The evaluated samples are the collection's without its test split, and their
    split is "external".
    """
    remaining = [sample for sample in samples if collection(sample) != left_out]
    evaluated = [s for s in samples if collection(s) == left_out and s.split in ("train", "validation")]
    return remaining, [replace(sample, split="external") for sample in evaluated]


def leave_out(
    chosen: Sequence[Recipe], samples: Sequence[Sample], left_out: str, data: Path, out: Path, start: learning.Start
) -> dict[str, Any]:
    """Train the `chosen` recipes into `out` without a collection and evaluate the model there.

    Returns an entry of `left_out` in evaluation.json. `samples`: all samples of the recipes, from the folder `data`.
    The networks of several recipes are combined. Raises the errors of `learning.learn`, and DataMissing.
    """
    remaining, evaluated = split_off(samples, left_out)
    validation = [sample for sample in remaining if sample.split == "validation"]
    sources = tuple(dict.fromkeys(sample.source for sample in remaining))
    several = len(chosen) > 1
    folders = [out / f"network-{number}" for number in range(len(chosen))] if several else [out]
    crops = any(recipe.lesion_crops is not None for recipe in chosen)
    for recipe, folder in zip(chosen, folders, strict=True):
        region = None if crops and recipe.lesion_crops is None else start.region
        own_start = replace(start, region=region, resume=True)
        learning.learn(recipe.model_copy(update={"sources": sources}), remaining, folder, own_start)
    if several:
        combine.combine(folders, f"{len(chosen)} networks", validation, out)
    gate.write_gate(out, data, remaining)
    predictor = Predictor(checkpoints.load(chosen[0].task, out))
    return evaluate_left_out(predictor, evaluated, validation) | {
        "learned_from": [SOURCES[name].title for name in sources]
    }


def _recipes(names: Sequence[str]) -> list[Recipe]:
    """The recipes by their names. Raises RecipeError if they cannot be combined."""
    chosen = []
    for name in names:
        recipe = recipes.load(name)
        if not isinstance(recipe, Recipe):
            raise RecipeError(f"{name} is not a recipe of a classifier.")
        chosen.append(recipe)
    for field in ("task", "architecture", "image_size", "sources", "resplit", "fold"):
        if len({getattr(recipe, field) for recipe in chosen}) > 1:
            raise RecipeError(f"{' and '.join(names)} cannot be combined: they differ in {field}.")
    return chosen


def evaluate_left_out(predictor: Predictor, samples: Sequence[Sample], validation: Sequence[Sample]) -> dict[str, Any]:
    """Counts, metrics and operating point of `samples` at the default threshold, and further entries.

    "promised" has, for each sensitivity that `validation` promises, the operating point of `samples` at that threshold.
    For a checkpoint with a gate, "refused" is the share of images that the gate refuses, and "unlike" the share of
    which it warns that they are unlike the training images.
    """
    task, threshold = predictor.task, predictor.checkpoint.config.vigil.default_threshold
    predictions = evaluate.predict_samples(predictor, samples, "left out")
    labels, groups = _labels(samples), _groups(samples)
    probabilities = np.array([prediction.probabilities for prediction in predictions])
    scores = metrics.p_malignant(task, probabilities).round(evaluate.DECIMALS)
    table = evaluate.threshold_tables(task, labels, scores)["malignant"]
    validation_probabilities = np.array(
        [prediction.probabilities for prediction in evaluate.predict_samples(predictor, validation, "validation")]
    )
    validation_table = evaluate.threshold_tables(
        task,
        _labels(validation),
        metrics.p_malignant(task, validation_probabilities).round(evaluate.DECIMALS),
        _groups(validation),
    )["malignant"]
    promises = {target: thresholds.promise(validation_table, target).threshold for target in TARGETS}
    verdicts = [prediction.gate for prediction in predictions if prediction.gate is not None]
    shares = {
        "refused": [not verdict.accepted for verdict in verdicts],
        "unlike": [verdict.unlike for verdict in verdicts],
    }
    return {
        **evaluate.counts(task, samples),
        **evaluate.metrics_at(task, labels, probabilities, groups, threshold),
        "promised": {
            f"{target:g}": None if at is None else metrics.at_threshold(table, at) for target, at in promises.items()
        },
        **({name: metrics.share(np.array(found), groups) for name, found in shares.items()} if verdicts else {}),
    }


def _labels(samples: Sequence[Sample]) -> np.ndarray:
    return np.array([sample.label for sample in samples])


def _groups(samples: Sequence[Sample]) -> list[str]:
    return [f"{sample.source}/{sample.group}" for sample in samples]


def summary(left_out: dict[str, dict[str, Any]]) -> str:
    """The figures as text for a terminal, one line per figure."""
    lines = []
    for name, entry in left_out.items():
        lines.append(f"{name}, left out (n = {entry['n']:,}, {entry['groups']:,} groups)")
        lines += [f"  {metric:<20}{evaluate.metric_text(value)}" for metric, value in entry["metrics"].items()]
        for target, point in entry["at_default_threshold"].items():
            for share in ("sensitivity", "specificity"):
                title = f"{share} {target}"
                lines.append(f"  {title:<28}{evaluate.metric_text(point[share])} at {point['threshold']:g}")
    return "\n".join(lines)


@runs_networks("leave_out")
def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 1, with one sentence on standard error, if it fails."""
    parser = argparse.ArgumentParser(prog="python -m train.leave_out", description=__doc__.splitlines()[0])
    parser.add_argument(
        "recipes", nargs="+", metavar="RECIPE", help="name in train/recipes, or a YAML file; several are combined"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the datasets")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs, one per source")
    parser.add_argument("--pretrained", default="none", metavar="hub|FILE|none", help="ImageNet weights (default none)")
    parser.add_argument("--region", type=Path, metavar="DIR", help="lesion finder, for lesion_crops")
    parser.add_argument("--workers", type=int, help="processes that augment (default: one less than the cores)")
    parser.add_argument("--only", nargs="+", metavar="SOURCE", help="sources to leave out in turn (default: all)")
    parser.add_argument("--into", type=Path, metavar="DIR", help="evaluated checkpoint folder that gets the figures")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        chosen = _recipes(options.recipes)
        recipe = chosen[0]
        samples = load(recipe.task, options.data, recipe.sources, recipe.resplit, recipe.fold)
        names = list(dict.fromkeys(map(collection, samples)))
        turns = options.only or names
        if len(names) < 2 or set(turns) - set(names):
            raise RecipeError(f"{options.recipes[0]} learns from {', '.join(names)}. Two are needed to leave one out.")
        start = learning.Start(options.pretrained, options.region, workers=options.workers)
        title = " + ".join(Path(name).stem for name in options.recipes)
        found = {
            name: {"recipe": title}
            | evaluate.round_figures(
                leave_out(chosen, samples, name, options.data, options.out / name.replace("/", "-"), start)
            )
            for name in turns
        }
        print(summary(found))
        if options.into is not None:
            evaluate.add_to_evaluation(options.into, {"left_out": found})
    except (RecipeError, DataMissing, CheckpointError, loop.TrainingError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
