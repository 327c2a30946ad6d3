"""Train one recipe and write its checkpoint folder.

    python -m train skin --data DIR --out runs/skin --pretrained hub

RECIPE is a name in train/recipes or a YAML file; DIR holds the data sets, each in its own folder. `--pretrained` says
where ImageNet weights come from: "hub" (timm fetches them), a safetensors file of timm's key names, or "none". Killed
at any moment, the same command with `--resume` goes on. On several GPUs or machines: torchrun --nproc-per-node N -m train
…; the recipe's batch is shared out. Then: python -m train.evaluate OUT --data DIR
"""

import argparse
import logging
import sys
from pathlib import Path

from src.weights import CheckpointError
from train import baseline, distributed, loop, release
from train import recipe as recipes
from train.data import DataMissing, load

TRAINING = "training"
"""The folder inside a checkpoint folder for what only a training run needs; never published."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status, 1 with one sentence on standard error where it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recipe", help="a name in train/recipes or a YAML file")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--pretrained", default="none", metavar="hub|FILE|none", help="ImageNet weights (default none)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--workers", type=int, help="processes that augment (default: one less than the cores)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        recipe = recipes.load(options.recipe)
        samples = load(recipe.task, options.data, recipe.sources, recipe.resplit)
        if isinstance(recipe, recipes.LogisticRecipe):
            config, tensors, history = baseline.fit(recipe, samples)
            classes = 1
        else:
            config, classes = loop.pretrained_config(recipe), loop.outputs(recipe.task, recipe.architecture)
            with distributed.joined() as processes:
                tensors, history = loop.train(
                    recipe,
                    samples,
                    options.out / TRAINING,
                    options.pretrained,
                    options.resume,
                    options.workers,
                    processes,
                )
            if not processes.first:
                return 0
        release.write(options.out, recipe, config, classes, tensors, samples, history)
    except (recipes.RecipeError, DataMissing, CheckpointError, loop.TrainingError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.out}: trained and calibrated. Next: python -m train.evaluate {options.out} --data {options.data}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
