"""Test which plain statistics of an image reveal its source.

    python -m train.sources skin-sources --data DIR

A logistic regression, cross-validated by group, guesses the source of an image from statistics that cannot describe a
lesion: shape, black frame, borders, marks, colour, brightness and grain. It uses each of them alone and all together.
An AUC of 0.5 is chance. The command does this for the images as they are and for the images after the recipe's
augmentation. A statistic that reveals the source is a shortcut if the sources differ in their share of cancers. Each
source gives the same number of images per class, so that the class does not reveal the source. Only training images
are read.
"""

import argparse
import logging
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from src.models import gate
from src.models.preprocess import select_region
from src.pictures import annotations, scanned_field
from src.tasks import TASKS, Task
from train.data import DataMissing, Sample, load
from train.training import recipe as recipes
from train.training.augmentation import Augmentation
from train.training.recipe import Recipe, RecipeError

MAX_IMAGES = 150
"""The largest number of images per class and source."""

SIDE = 224  # px, the side of an augmented image

COLOUR_FEATURES, BRIGHTNESS_FEATURES = 8, 2 + len(gate.QUANTILES) + 4 * gate.BANDS
"""`gate.picture_features` begins with these numbers of features; the others describe grain."""


def plain_statistics(image: Image.Image, task: Task) -> dict[str, np.ndarray]:
    """The statistics of an RGB image by name, each an array (k,).

    They are shape, frame, borders, marks, colour, brightness and grain.
    """
    grey = np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BILINEAR)).astype(float) / 255
    corners = np.array([grey[y, x].mean() for y in (slice(6), slice(-6, None)) for x in (slice(6), slice(-6, None))])
    edges = np.array([grey[0].std(), grey[-1].std(), grey[:, 0].std(), grey[:, -1].std()])
    features = gate.picture_features([image], task, SIDE)[0]
    return {
        "shape": np.array([image.width / image.height]),
        # The brightness of the four corners, and the share of black pixels.
        "frame": np.array([*np.sort(corners), (grey < 0.08).mean()]),
        # A border has the same grey along a whole edge.
        "borders": np.sort(edges),
        # The numbers of callipers and of letters.
        "marks": np.array(annotations.count(image), dtype=float),
        "colour": features[:COLOUR_FEATURES],
        "brightness": features[COLOUR_FEATURES : COLOUR_FEATURES + BRIGHTNESS_FEATURES],
        "grain": features[COLOUR_FEATURES + BRIGHTNESS_FEATURES :],
    }


def balanced(samples: Sequence[Sample]) -> list[Sample]:
    """Training images of the classes that all sources have: per class, the same number from each source."""
    cells: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.split == "train":
            cells[sample.source, sample.label].append(sample)
    sources = sorted({source for source, _ in cells})
    chosen: list[Sample] = []
    for label in sorted({label for _, label in cells}):
        if all((source, label) in cells for source in sources):
            count = min(MAX_IMAGES, *(len(cells[source, label]) for source in sources))
            chosen += [one for source in sources for one in random.Random(0).sample(cells[source, label], count)]
    return chosen


def source_aucs(statistics: Sequence[dict[str, np.ndarray]], samples: Sequence[Sample]) -> dict[str, float]:
    """Name of a statistic -> the mean one-against-rest AUC of guessing the source from it, cross-validated by group.

    `statistics` has the `plain_statistics` of each sample. The entry "all" uses all of them together.
    """
    sources = np.array([sample.source for sample in samples])
    groups = [f"{sample.source}/{sample.group}" for sample in samples]
    names = list(statistics[0])
    columns = {name: np.stack([one[name] for one in statistics]) for name in names}
    columns["all"] = np.concatenate([columns[name] for name in names], axis=1)
    result = {}
    for name, rows in columns.items():
        if np.ptp(rows, axis=0).max() == 0:
            result[name] = 0.5  # the same for all images, as the shape is after augmentation
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        cut = StratifiedGroupKFold(5, shuffle=True, random_state=0)
        p = cross_val_predict(model, rows, sources, groups=groups, cv=cut, method="predict_proba")
        order = sorted(set(sources))
        aucs = [roc_auc_score(sources == source, p[:, i]) for i, source in enumerate(order)]
        result[name] = float(np.mean(aucs))
    return result


def report(task: Task, samples: Sequence[Sample], augmentation: str) -> dict[str, dict[str, float]]:
    """The `source_aucs` of `samples` "as they are" and "in training", after the pipeline `augmentation`."""
    pipeline = Augmentation(augmentation, SIDE)

    def augmented(image: Image.Image, seed: int) -> Image.Image:
        return Image.fromarray(
            pipeline(np.asarray(select_region(scanned_field.crop(image, task), task, 3).image), seed)
        )

    versions: dict[str, Callable[[Image.Image, int], Image.Image]] = {
        "as they are": lambda image, _: image,
        "in training": augmented,
    }
    return {
        version: source_aucs(
            [
                plain_statistics(change(sample.picture().image, seed), task)
                for seed, sample in enumerate(tqdm(samples, desc=version, unit="image"))
            ],
            samples,
        )
        for version, change in versions.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 1, with one sentence on standard error, if it fails."""
    parser = argparse.ArgumentParser(prog="python -m train.sources", description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="name in train/recipes, or a YAML file; gives the sources and the augmentation")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the datasets")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        recipe = recipes.load(options.recipe)
        if not isinstance(recipe, Recipe) or recipe.channels != 3 or len(recipe.sources) < 2:
            raise RecipeError(f"{options.recipe} does not learn from several sources of colour images.")
        samples = balanced(load(recipe.task, options.data, recipe.sources))
        aucs: dict[str, Any] = report(TASKS[recipe.task], samples, recipe.augmentation)
    except (RecipeError, DataMissing) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(samples)} images; mean AUC of guessing the source (0.5 is chance)")
    print(f"{'':<12}" + "".join(f"{version:>14}" for version in aucs))
    for name in next(iter(aucs.values())):
        print(f"{name:<12}" + "".join(f"{by_name[name]:>14.3f}" for by_name in aucs.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
