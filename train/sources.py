"""What tells a task's sources apart, by statistics too plain to know a lesion:

    python -m train.sources skin --data DIR

Shape, black frame and borders, colour, brightness and grain of a picture, each alone and all together, guess its source
(a logistic regression, cross-validated by group): 0.5 is chance. Read once as the pictures are and once as the recipe's
augmentation shows them in training. What is guessed well is a shortcut wherever the sources differ in their share of
cancers. As many pictures of each class are drawn from each source, so that the classes give nothing away. Only training
pictures are read.
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
from src.pictures import scanned_field
from src.tasks import TASKS, Task
from train.data import DataMissing, Sample, load
from train.training import recipe as recipes
from train.training.augmentation import Augmentation
from train.training.recipe import Recipe, RecipeError

EACH = 150
"""At most so many pictures of a class of a source."""

SIDE = 224  # px, to which a picture is augmented

COLOURS, LEVELS = 8, 2 + len(gate.QUANTILES) + 4 * gate.BANDS
"""How many of `gate.picture_features` are colour differences, and after those brightness; the rest is grain."""


def clues(image: Image.Image, task: Task) -> dict[str, np.ndarray]:
    """Name -> statistics (k,) of an RGB picture: shape, frame, borders, colour, brightness, grain."""
    grey = np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BILINEAR)).astype(float) / 255
    corners = np.array([grey[y, x].mean() for y in (slice(6), slice(-6, None)) for x in (slice(6), slice(-6, None))])
    edges = np.array([grey[0].std(), grey[-1].std(), grey[:, 0].std(), grey[:, -1].std()])
    plain = gate.picture_features(image, task, SIDE)
    return {
        "shape": np.array([image.width / image.height]),
        # Black corners round a lit field, and how much of the picture is black.
        "frame": np.array([*np.sort(corners), (grey < 0.08).mean()]),
        # One grey along a whole edge.
        "borders": np.sort(edges),
        "colour": plain[:COLOURS],
        "brightness": plain[COLOURS : COLOURS + LEVELS],
        "grain": plain[COLOURS + LEVELS :],
    }


def balanced(samples: Sequence[Sample]) -> list[Sample]:
    """Training pictures of the classes that all sources have, as many of each class from each source."""
    cells: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.split == "train":
            cells[sample.source, sample.label].append(sample)
    sources = sorted({source for source, _ in cells})
    chosen: list[Sample] = []
    for label in sorted({label for _, label in cells}):
        if all((source, label) in cells for source in sources):
            count = min(EACH, *(len(cells[source, label]) for source in sources))
            chosen += [one for source in sources for one in random.Random(0).sample(cells[source, label], count)]
    return chosen


def guessed(found: Sequence[dict[str, np.ndarray]], samples: Sequence[Sample]) -> dict[str, float]:
    """Clue -> how well it tells the source: mean one-against-rest AUC, cross-validated by group, and "all" together."""
    sources = np.array([sample.source for sample in samples])
    groups = [f"{sample.source}/{sample.group}" for sample in samples]
    names = list(found[0])
    columns = {name: np.stack([one[name] for one in found]) for name in names}
    columns["all"] = np.concatenate([columns[name] for name in names], axis=1)
    result = {}
    for name, rows in columns.items():
        if np.ptp(rows, axis=0).max() == 0:
            result[name] = 0.5  # the same for all, as every augmented picture's shape is
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        cut = StratifiedGroupKFold(5, shuffle=True, random_state=0)
        p = cross_val_predict(model, rows, sources, groups=groups, cv=cut, method="predict_proba")
        order = sorted(set(sources))
        aucs = [roc_auc_score(sources == source, p[:, i]) for i, source in enumerate(order)]
        result[name] = float(np.mean(aucs))
    return result


def report(task: Task, samples: Sequence[Sample], augmentation: str) -> dict[str, dict[str, float]]:
    """`guessed` of `samples` "as they are" and "in training", which is as the pipeline `augmentation` shows them."""
    pipeline = Augmentation(augmentation, SIDE)

    def augmented(image: Image.Image, seed: int) -> Image.Image:
        return Image.fromarray(
            pipeline(np.asarray(select_region(scanned_field.crop(image, task), task, 3).image), seed)
        )

    ways: dict[str, Callable[[Image.Image, int], Image.Image]] = {
        "as they are": lambda image, _: image,
        "in training": augmented,
    }
    return {
        way: guessed(
            [clues(change(s.picture().image, i), task) for i, s in enumerate(tqdm(samples, desc=way, unit="image"))],
            samples,
        )
        for way, change in ways.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status, 1 with one sentence on standard error where it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m train.sources", description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="a name in train/recipes or a YAML file: its sources, its augmentation")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        recipe = recipes.load(options.recipe)
        if not isinstance(recipe, Recipe) or recipe.channels != 3 or len(recipe.sources) < 2:
            raise RecipeError(f"{options.recipe} does not learn from several sources of pictures in colour.")
        samples = balanced(load(recipe.task, options.data, recipe.sources))
        found: dict[str, Any] = report(TASKS[recipe.task], samples, recipe.augmentation)
    except (RecipeError, DataMissing) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(samples)} pictures; mean AUC of guessing the source (0.5 is chance)")
    print(f"{'':<12}" + "".join(f"{way:>14}" for way in found))
    for clue in next(iter(found.values())):
        print(f"{clue:<12}" + "".join(f"{figures[clue]:>14.3f}" for figures in found.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
