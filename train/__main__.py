"""Train one recipe and write its checkpoint folder.

    python -m train skin --data DIR --out runs/skin --pretrained hub

The recipe is a name in train/recipes or a YAML file. DIR holds the datasets, each in its own folder. `--pretrained`
names the ImageNet weights to start from: "hub" (timm downloads them), a safetensors file with timm's tensor names, or
"none". A run may be killed at any moment; the same command with `--resume` continues it. Several GPUs or machines share
the recipe's batch: torchrun --nproc-per-node N -m train …. The next step is python -m train.evaluate OUT --data DIR.
"""

import argparse
import logging
import sys
from pathlib import Path

from src.command_line import runs_networks
from src.models.checkpoints import CheckpointError
from train import gate, learning, release
from train.data import DataMissing, load
from train.training import logistic, loop
from train.training import recipe as recipes


@runs_networks("train")
def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 1, with one sentence on standard error, if it fails."""
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recipe", help="name in train/recipes, or a YAML file")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the datasets")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--pretrained", default="none", metavar="hub|FILE|none", help="ImageNet weights (default none)")
    parser.add_argument("--region", type=Path, metavar="DIR", help="lesion finder, for lesion_crops")
    parser.add_argument(
        "--teachers", type=Path, nargs="+", default=(), metavar="DIR", help="checkpoint folders, for distillation"
    )
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    parser.add_argument("--workers", type=int, help="processes that augment (default: one less than the cores)")
    options = parser.parse_args(arguments)
    start = learning.Start(options.pretrained, options.region, tuple(options.teachers), options.resume, options.workers)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        recipe = recipes.load(options.recipe)
        samples = load(recipe.task, options.data, recipe.sources, recipe.resplit, recipe.fold)
        if isinstance(recipe, recipes.LogisticRecipe):
            config, tensors, history = logistic.fit(recipe, samples)
            release.write_checkpoint(options.out, recipe, config, 1, tensors, samples, history)
        elif not learning.learn(recipe, samples, options.out, start):
            return 0
        if not isinstance(recipe, recipes.RegionRecipe):
            gate.write_gate(options.out, options.data, samples)
    except (recipes.RecipeError, DataMissing, CheckpointError, loop.TrainingError) as error:
        print(error, file=sys.stderr)
        return 1
    if isinstance(recipe, recipes.RegionRecipe):
        print(f"{options.out}: trained. Next: train a recipe with lesion_crops, with --region {options.out}")
        return 0
    print(f"{options.out}: trained and calibrated. Next: python -m train.evaluate {options.out} --data {options.data}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
