"""One training run: from a recipe and its samples to a checkpoint folder.

`python -m train` uses it, and so do the commands that train several networks. It knows nothing of the command line, of
gates or of evaluation.
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
from train.training.teachers import Teachers

TRAINING = "training"
"""The folder inside a checkpoint folder for files that only a training run needs. It is never published."""


@dataclass(frozen=True)
class Start:
    """How a run starts.

    `pretrained` is "hub", "none" or a safetensors file. `region` is the folder of the lesion finder, for recipes with
    `lesion_crops`. `teachers` are checkpoint folders, for recipes with `distillation`. `resume` continues a run that
    was interrupted. `workers` is the number of processes that augment; None means one less than the cores.
    """

    pretrained: str = "none"
    region: Path | None = None
    teachers: tuple[Path, ...] = ()
    resume: bool = False
    workers: int | None = None


def learn(recipe: Recipe | RegionRecipe, samples: Sequence[Sample], out: Path, start: Start) -> bool:
    """Train the recipe and write its checkpoint folder `out`.

    Returns True in the process that wrote the folder, and False in the other processes. Raises RecipeError,
    CheckpointError and TrainingError.
    """
    crops_to_lesion = isinstance(recipe, Recipe) and recipe.lesion_crops is not None
    if crops_to_lesion and start.region is None:
        raise RecipeError("This recipe has lesion_crops, so it needs --region.")
    if start.region is not None and not crops_to_lesion:
        raise RecipeError("This recipe has no lesion_crops, so --region must not be given.")
    distils = isinstance(recipe, Recipe) and recipe.distillation is not None
    if distils != bool(start.teachers):
        raise RecipeError(
            "This recipe has distillation, so it needs --teachers."
            if distils
            else "This recipe has no distillation, so --teachers must not be given."
        )
    finder = segmentation.load(start.region) if start.region is not None else None
    with distributed.join_processes() as processes:
        job: loop.Job
        if isinstance(recipe, RegionRecipe):
            job = LesionSearch(recipe, samples, start.pretrained, validates=processes.first)
        else:
            teachers = Teachers.load(recipe, start.teachers) if start.teachers else None
            job = Classification(recipe, samples, start.pretrained, finder, teachers, validates=processes.first)
        precision = loop.Precision.best(processes.local_rank)
        tensors, history = loop.run(job, out / TRAINING, precision, start.resume, start.workers, processes)
    if not processes.first:
        return False
    if isinstance(recipe, RegionRecipe):
        segmentation.release(out, recipe, tensors, history)
    else:
        config = classifier.pretrained_config(recipe)
        num_classes = classifier.outputs(recipe.task, recipe.architecture)
        region = segmentation.copy(start.region, out) if start.region is not None else None
        release.write_checkpoint(out, recipe, config, num_classes, tensors, samples, history, region)
    return True
