"""Evaluate how the figures of a recipe depend on its seed.

    python -m train.spread runs/skin-0 runs/skin-1 runs/skin-2 --data DIR --into checkpoints/skin

The released checkpoint (`--into`) was chosen on validation and evaluated before. The command evaluates the checkpoints
of the other seeds on the validation and test splits. It writes the figures of all seeds to `seeds` in the
evaluation.json of the released checkpoint; its cards and the page show their mean and range. External datasets are not
read for this. This module knows nothing of training.
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
from src.models.checkpoints import CheckpointError
from src.models.evaluation import parse
from train import evaluate
from train.cards import findings
from train.data import DataMissing
from train.evaluation import metrics
from train.training import recipe as recipes


class SpreadError(ValueError):
    """The runs cannot be compared by their seeds; the message says why in one sentence."""


SHARES = ("sensitivity", "specificity")
"""The proportions that are reported beside the metrics, at each run's own default threshold."""


def stored_metrics(content: dict[str, Any], vigil: dict[str, Any]) -> dict[str, Any]:
    """The result of `seed_metrics` for a run that is already evaluated.

    `content` is its evaluation.json and `vigil` the block of its config.json.
    """
    splits = {}
    for name, split in content["splits"].items():
        point = split["at_default_threshold"]["malignant"]
        splits[name] = {key: figure["value"] for key, figure in split["metrics"].items()}
        splits[name] |= {share: point[share]["value"] for share in SHARES}
    return {"seed": vigil["seed"], "weights_sha256": vigil["sha256"], "splits": splits}


def seed_metrics(folder: Path, data: Path) -> dict[str, Any]:
    """The seed of a run, the sha256 of its weights, and its metrics and SHARES on each split.

    Raises CheckpointError if the folder does not verify, and DataMissing if a dataset is missing.
    """
    vigil, predictor, samples = evaluate.open_run(folder, data)
    task, threshold = predictor.task, vigil["default_threshold"]
    splits: dict[str, dict[str, float]] = {}
    for name, part in evaluate.split_names(samples, vigil["recipe"]["sources"]).items():
        probabilities = np.array([one.probabilities for one in evaluate.predict_samples(predictor, part, name)])
        labels = np.array([sample.label for sample in part])
        scores = metrics.p_malignant(task, probabilities).round(evaluate.DECIMALS)
        point = metrics.at_threshold(evaluate.threshold_tables(task, labels, scores)["malignant"], threshold)
        splits[name] = metrics.point_estimates(task, probabilities, labels) | {
            share: point[share]["value"] for share in SHARES
        }
    return {"seed": vigil["seed"], "weights_sha256": vigil["sha256"], "splits": splits}


def comparable(folders: Sequence[Path], released: Path) -> None:
    """Raise SpreadError unless the folders have one recipe and different seeds, and `released` is one of them."""
    ours, runs = evaluate.vigil_block(released), [evaluate.vigil_block(folder) for folder in folders]
    # The recipe's class adds defaults, because a run may be older than a setting.
    wanted = recipes.of_settings(ours["recipe"], f"{released}").model_dump()
    for folder, vigil in zip(folders, runs, strict=True):
        settings = recipes.of_settings(vigil["recipe"], f"{folder}").model_dump()
        for key in wanted.keys() | settings.keys():
            if key != "seed" and wanted.get(key) != settings.get(key):
                raise SpreadError(f"{folder} has another recipe than {released}: {key} differs.")
        if vigil["split_sha256"] != ours["split_sha256"]:
            raise SpreadError(f"{folder} was trained on another split than {released}.")
    if len({vigil["seed"] for vigil in runs}) < len(runs):
        raise SpreadError("Two of the runs have the same seed.")
    if ours["sha256"] not in [vigil["sha256"] for vigil in runs]:
        raise SpreadError(f"{released} is not one of the runs.")


@runs_networks("spread")
def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 1, with one sentence on standard error, if it fails."""
    parser = argparse.ArgumentParser(prog="python -m train.spread", description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="checkpoint folders, one per seed")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the datasets")
    parser.add_argument(
        "--into", type=Path, required=True, metavar="DIR", help="the released one of them, already evaluated"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    stored = options.into / "evaluation.json"
    try:
        comparable(options.folders, options.into)
        content = json.loads(stored.read_text(encoding="utf-8"))
        runs = []
        for folder in options.folders:
            vigil = evaluate.vigil_block(folder)
            known = vigil["sha256"] == content["weights_sha256"]
            runs.append(stored_metrics(content, vigil) if known else seed_metrics(folder, options.data))
        runs.sort(key=lambda run: run["seed"])
    except (CheckpointError, DataMissing, SpreadError, recipes.RecipeError) as error:
        print(error, file=sys.stderr)
        return 1
    except FileNotFoundError as error:
        print(f"{error.filename} is missing. Train and evaluate first.", file=sys.stderr)
        return 1
    evaluate.write_evaluation(options.into, content | {"seeds": evaluate.round_figures(runs)})
    print(findings.seeds_section(parse(content | {"seeds": runs})))
    return 0


if __name__ == "__main__":
    sys.exit(main())
