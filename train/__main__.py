"""Train one recipe and write its checkpoint folder.

    python -m train skin --data DIR --out runs/skin --pretrained hub

RECIPE is a name in train/recipes or a YAML file; DIR holds the data sets, each in its own folder. `--pretrained` says
where ImageNet weights come from: "hub" (timm fetches them), a safetensors file of timm's key names, or "none". Killed
at any moment, the same command with `--resume` goes on. On several GPUs or machines:
torchrun --nproc-per-node N -m train …; the recipe's batch is shared out. Then: python -m train.evaluate OUT --data DIR
"""

import argparse
import logging
import sys
from pathlib import Path

from src.models.checkpoints import CheckpointError
from train import gate, release
from train.data import DataMissing, Sample, load
from train.training import classifier, distributed, logistic, loop, segmentation
from train.training import recipe as recipes
from train.training.classifier import Classification
from train.training.segmentation import LesionSearch

TRAINING = "training"
"""The folder inside a checkpoint folder for what only a training run needs; never published."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status, 1 with one sentence on standard error where it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recipe", help="a name in train/recipes or a YAML file")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--pretrained", default="none", metavar="hub|FILE|none", help="ImageNet weights (default none)")
    parser.add_argument("--region", type=Path, metavar="DIR", help="what ultrasound-region wrote, for lesion_crops")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--workers", type=int, help="processes that augment (default: one less than the cores)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        recipe = recipes.load(options.recipe)
        samples = load(recipe.task, options.data, recipe.sources, recipe.resplit)
        if isinstance(recipe, recipes.LogisticRecipe):
            config, tensors, history = logistic.fit(recipe, samples)
            release.write(options.out, recipe, config, 1, tensors, samples, history)
        elif not _learn(recipe, samples, options):
            return 0
        if not isinstance(recipe, recipes.RegionRecipe):
            gate.write(options.out, options.data, samples)
    except (recipes.RecipeError, DataMissing, CheckpointError, loop.TrainingError) as error:
        print(error, file=sys.stderr)
        return 1
    if isinstance(recipe, recipes.RegionRecipe):
        print(f"{options.out}: trained. Next: python -m train ultrasound --region {options.out} …")
        return 0
    print(f"{options.out}: trained and calibrated. Next: python -m train.evaluate {options.out} --data {options.data}")
    return 0


def _learn(recipe: recipes.Recipe | recipes.RegionRecipe, samples: list[Sample], options: argparse.Namespace) -> bool:
    """Train and release; False in all processes but the first, which have nothing to write."""
    needed = isinstance(recipe, recipes.Recipe) and recipe.lesion_crops is not None
    if needed != (options.region is not None):
        raise recipes.RecipeError("--region is for the recipes with lesion_crops, and those need it.")
    finder = segmentation.load(options.region) if needed else None
    with distributed.joined() as processes:
        job: loop.Job
        if isinstance(recipe, recipes.RegionRecipe):
            job = LesionSearch(recipe, samples, options.pretrained, judges=processes.first)
        else:
            job = Classification(recipe, samples, options.pretrained, finder, judges=processes.first)
        precision = loop.Precision.best(processes.local_rank)
        tensors, history = loop.run(job, options.out / TRAINING, precision, options.resume, options.workers, processes)
    if not processes.first:
        return False
    if isinstance(recipe, recipes.RegionRecipe):
        segmentation.release(options.out, recipe, tensors, history)
    else:
        config, number = classifier.pretrained_config(recipe), classifier.outputs(recipe.task, recipe.architecture)
        about = segmentation.copy(options.region, options.out) if needed else None
        release.write(options.out, recipe, config, number, tensors, samples, history, about)
    return True


if __name__ == "__main__":
    sys.exit(main())
