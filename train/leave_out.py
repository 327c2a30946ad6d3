"""How a recipe reads a source that it never saw, each source of its task in turn:

    python -m train.leave_out skin --data DIR --out runs/skin-left-out --pretrained hub --into checkpoints/skin

trains the recipe on all other sources and reads the one that was left out, but for its test split, which stays unread:
recipes are chosen by these figures. A source whose metadata names the clinics' own collections (`dataset`) is taken
apart into them. The table goes into `left_out` of the evaluation.json of `--into`, whose cards then show it. Killed at
any moment, the same command goes on.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from src.models import checkpoints
from src.models.checkpoints import CheckpointError
from src.models.evaluation import TARGETS
from src.models.predictor import Predictor
from src.results import thresholds
from train import evaluate, learning
from train.data import SOURCES, DataMissing, Sample, load
from train.evaluation import metrics
from train.training import loop
from train.training import recipe as recipes
from train.training.recipe import Recipe, RecipeError


def collection(sample: Sample) -> str:
    """What is left out as one: the sample's source, and the clinic's own collection in it where the source has it."""
    own = sample.meta.get("dataset")
    return f"{sample.source}/{own}" if own else sample.source


def split_off(samples: Sequence[Sample], left_out: str) -> tuple[list[Sample], list[Sample]]:
    """(what is learned from, what is read) where the collection `left_out` is not learned from.

    The rest keeps its splits. Of the collection all but its test split is read, as "external".
    """
    rest = [sample for sample in samples if collection(sample) != left_out]
    read = [s for s in samples if collection(s) == left_out and s.split in ("train", "validation")]
    return rest, [replace(sample, split="external") for sample in read]


def leave_out(
    recipe: Recipe, samples: Sequence[Sample], left_out: str, out: Path, start: learning.Start
) -> dict[str, Any]:
    """Train `recipe` into `out` without a collection and read it: an entry of evaluation.json's `left_out`.

    Raises what `learning.learn` raises.
    """
    rest, read = split_off(samples, left_out)
    remaining = tuple(dict.fromkeys(sample.source for sample in rest))
    cut = recipe.model_copy(update={"sources": remaining})
    learning.learn(cut, rest, out, replace(start, resume=True))
    predictor = Predictor(checkpoints.load(recipe.task, out))
    validation = [sample for sample in rest if sample.split == "validation"]
    return evaluate_left_out(predictor, read, validation) | {
        "learned_from": [SOURCES[name].title for name in remaining]
    }


def evaluate_left_out(predictor: Predictor, samples: Sequence[Sample], validation: Sequence[Sample]) -> dict[str, Any]:
    """Counts, metrics and costs of `samples` at the default threshold, the share that the gate refuses (None without
    one), and what becomes there of the sensitivities that `validation` promises."""
    task, threshold = predictor.task, predictor.checkpoint.config.vigil.default_threshold
    answers = evaluate.predict_samples(predictor, samples, "left out")
    labels, groups = _labels(samples), _groups(samples)
    probabilities = np.array([answer.probabilities for answer in answers])
    scores = metrics.p_malignant(task, probabilities).round(evaluate.DECIMALS)
    costs = evaluate.threshold_tables(task, labels, scores)["malignant"]
    at_home = np.array(
        [answer.probabilities for answer in evaluate.predict_samples(predictor, validation, "validation")]
    )
    promising = evaluate.threshold_tables(
        task,
        _labels(validation),
        metrics.p_malignant(task, at_home).round(evaluate.DECIMALS),
        _groups(validation),
    )["malignant"]
    promises = {target: thresholds.promise(promising, target).threshold for target in TARGETS}
    refused = [answer.gate is not None and not answer.gate.accepted for answer in answers]
    gated = predictor.checkpoint.gate is not None
    return {
        **evaluate.counts(task, samples),
        **evaluate.metrics_at(task, labels, probabilities, groups, threshold),
        "promised": {
            f"{target:g}": None if at is None else metrics.at_threshold(costs, at) for target, at in promises.items()
        },
        "refused": metrics.share(np.array(refused), groups) if gated else None,
    }


def _labels(samples: Sequence[Sample]) -> np.ndarray:
    return np.array([sample.label for sample in samples])


def _groups(samples: Sequence[Sample]) -> list[str]:
    return [f"{sample.source}/{sample.group}" for sample in samples]


def summary(left_out: dict[str, dict[str, Any]]) -> str:
    """The figures, a line each, to be read in a terminal."""
    lines = []
    for name, found in left_out.items():
        lines.append(f"{name}, left out (n = {found['n']:,}, {found['groups']:,} groups)")
        lines += [f"  {metric:<20}{evaluate.metric_text(value)}" for metric, value in found["metrics"].items()]
        for who, point in found["at_default_threshold"].items():
            for share in ("sensitivity", "specificity"):
                lines.append(f"  {f'{share} {who}':<28}{evaluate.metric_text(point[share])} at {point['threshold']:g}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status, 1 with one sentence on standard error where it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m train.leave_out", description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="a name in train/recipes (skin, ultrasound) or a YAML file")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs, one a source")
    parser.add_argument("--pretrained", default="none", metavar="hub|FILE|none", help="ImageNet weights (default none)")
    parser.add_argument("--region", type=Path, metavar="DIR", help="what ultrasound-region wrote, for lesion_crops")
    parser.add_argument("--workers", type=int, help="processes that augment (default: one less than the cores)")
    parser.add_argument("--only", nargs="+", metavar="SOURCE", help="leave out these in turn (default: each)")
    parser.add_argument(
        "--into", type=Path, metavar="DIR", help="evaluated checkpoint folder that is to show the table"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        recipe = recipes.load(options.recipe)
        if not isinstance(recipe, Recipe):
            raise RecipeError(f"{options.recipe} is no recipe of a classifier.")
        samples = load(recipe.task, options.data, recipe.sources, recipe.resplit)
        names = list(dict.fromkeys(map(collection, samples)))
        chosen = options.only or names
        if len(names) < 2 or set(chosen) - set(names):
            raise RecipeError(f"{options.recipe} learns from {', '.join(names)}: of them one can be left out, of two.")
        start = learning.Start(options.pretrained, options.region, workers=options.workers)
        found = {
            name: evaluate.round_figures(leave_out(recipe, samples, name, options.out / name.replace("/", "-"), start))
            for name in chosen
        }
        print(summary(found))
        if options.into is not None:
            file = options.into / "evaluation.json"
            content = json.loads(file.read_text(encoding="utf-8"))
            evaluate.write_evaluation(options.into, content | {"left_out": content.get("left_out", {}) | found})
    except (RecipeError, DataMissing, CheckpointError, loop.TrainingError) as error:
        print(error, file=sys.stderr)
        return 1
    except FileNotFoundError as error:
        print(f"{error.filename} is not there: train and evaluate first.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
