"""One run from a recipe and its samples to a checkpoint folder, for `python -m train` and all that trains several.

Knows nothing of the command line, of gates or of evaluation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train import release
from train.data import Sample
from train.training import classifier, distributed, loop, segmentation
from train.training.classifier import Classification
from train.training.recipe import Recipe, RecipeError, RegionRecipe
from train.training.segmentation import LesionSearch

TRAINING = "training"
"""The folder inside a checkpoint folder for what only a training run needs; never published."""


@dataclass(frozen=True)
class Start:
    """How a run starts: `pretrained` is "hub", "none" or a safetensors file, `region` the folder of the lesion finder
    for recipes with `lesion_crops`, `workers` the number of processes that augment (None: one less than the cores)."""

    pretrained: str = "none"
    region: Path | None = None
    resume: bool = False
    workers: int | None = None


def learn(recipe: Recipe | RegionRecipe, samples: Sequence[Sample], out: Path, start: Start) -> bool:
    """Train and release into `out`; False in all processes but the first, which have nothing to write.

    Raises RecipeError, CheckpointError and TrainingError.
    """
    needed = isinstance(recipe, Recipe) and recipe.lesion_crops is not None
    if needed != (start.region is not None):
        raise RecipeError("--region is for the recipes with lesion_crops, and those need it.")
    finder = segmentation.load(start.region) if start.region is not None else None
    with distributed.join_processes() as processes:
        job: loop.Job
        if isinstance(recipe, RegionRecipe):
            job = LesionSearch(recipe, samples, start.pretrained, validates=processes.first)
        else:
            job = Classification(recipe, samples, start.pretrained, finder, validates=processes.first)
        precision = loop.Precision.best(processes.local_rank)
        tensors, history = loop.run(job, out / TRAINING, precision, start.resume, start.workers, processes)
    if not processes.first:
        return False
    if isinstance(recipe, RegionRecipe):
        segmentation.release(out, recipe, tensors, history)
    else:
        config, number = classifier.pretrained_config(recipe), classifier.outputs(recipe.task, recipe.architecture)
        about = segmentation.copy(start.region, out) if start.region is not None else None
        release.write_checkpoint(out, recipe, config, number, tensors, samples, history, about)
    return True
