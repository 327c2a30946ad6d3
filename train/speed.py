"""Measure how much reading and augmentation slow the trainer down, and how much its number format speeds it up.

    python -m train.speed skin --data DIR

The command compares images per second of two loops with the same network, loss and optimiser. The real loop augments
images and copies them to the device; the other loop repeats one batch that is already in the device's memory. A ratio
of 1 means that augmentation costs no time. A third loop repeats the batch in float32, where the trainer uses another
format. The loops take turns, and the medians over the rounds are compared, because other work on the machine changes
its speed.
"""

import argparse
import copy
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

import torch
from torch import Tensor

from src.tasks import TASKS
from train.data import DataMissing, load
from train.training import recipe as recipes
from train.training.classifier import Classification
from train.training.dataset import Batches, Order
from train.training.loop import Normalise, Precision
from train.training.optimisation import Updates, adamw

Batch = tuple[Tensor, Tensor]


def training_step(job: Classification, precision: Precision) -> Callable[[Batch], None]:
    """A function that trains the job's network on one batch, as the training loop does."""
    recipe = job.recipe
    network = job.network.to(precision.device).to(memory_format=torch.channels_last).train()
    learner, normalise = job.learner(), Normalise(recipe, precision.device)
    scaler = torch.amp.GradScaler(precision.device.type, enabled=precision.dtype == torch.float16)
    updates = Updates(network, adamw(network, recipe.optimiser), scaler, recipe.optimiser)

    def step(batch: Batch) -> None:
        pixels, labels = batch
        with precision.autocast():
            answers = learner(normalise(pixels))
        updates.backward(job.loss(answers, labels.to(precision.device, non_blocking=True)), last=True)

    return step


def images_per_second(
    step: Callable[[Batch], None], batches: Iterator[Batch], number: int, device: torch.device
) -> float:
    """The rate over `number` batches. It waits for the device before and after."""
    _wait(device)
    started, images = time.perf_counter(), 0
    for _ in range(number):
        batch = next(batches)
        step(batch)
        images += len(batch[1])
    _wait(device)
    return images / (time.perf_counter() - started)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 1, with one sentence on standard error, if it fails."""
    parser = argparse.ArgumentParser(prog="python -m train.speed", description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="classifier's recipe: name in train/recipes, or a YAML file")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the datasets")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=20, help="batches per round")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    options = parser.parse_args(arguments)
    try:
        recipe = recipes.load(options.recipe)
        if not isinstance(recipe, recipes.Recipe):
            raise recipes.RecipeError(f"{options.recipe} is not a recipe of a classifier.")
        samples = load(recipe.task, options.data, recipe.sources, recipe.resplit, recipe.fold)
    except (recipes.RecipeError, DataMissing) as error:
        print(error, file=sys.stderr)
        return 1
    job, precision = Classification(recipe, samples, validates=False), Precision.best()
    exact = copy.copy(job)
    exact.network = copy.deepcopy(job.network)
    step, exact_step = training_step(job, precision), training_step(exact, Precision(precision.device, None))
    order = Order(recipe, job.labels, TASKS[recipe.task].codes, job.sources)
    loader = job.pictures.loader(Batches(order, recipe, 0), options.workers)
    # One epoch after another, without end.
    real: Iterator[Batch] = (batch for epoch in repeat(loader) for batch in epoch)
    ready = tuple(part.to(precision.device) for part in next(real))
    memory: Iterator[Batch] = repeat((ready[0], ready[1]))
    loops = [(step, real), (step, memory)] + ([] if precision.dtype is None else [(exact_step, memory)])
    for one in dict.fromkeys(one for one, _ in loops):
        images_per_second(one, memory, 3, precision.device)  # PyTorch chooses its kernels during the first batches
    rates = [
        [images_per_second(one, batches, options.batches, precision.device) for one, batches in loops]
        for _ in range(options.rounds)
    ]
    run, best, *_ = (statistics.median(column) for column in zip(*rates, strict=True))
    ratio = statistics.median(row[0] / row[1] for row in rates)
    print(f"real loop {run:.0f} images/s, from memory {best:.0f} images/s, ratio {ratio:.2f} ({precision.device})")
    if precision.dtype is not None:
        gain = statistics.median(row[1] / row[2] for row in rates)
        print(f"{str(precision.dtype).removeprefix('torch.')} is {gain:.2f} times as fast as float32")
    return 0


if __name__ == "__main__":
    sys.exit(main())
