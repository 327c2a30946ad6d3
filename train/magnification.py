"""The check of a picture's magnification (`src.pictures.magnification`): fitted, and its limit chosen.

    python -m train.magnification --data DIR

writes src/pictures/magnification.json: a logistic regression for each task with a physical scale, from a sample of its
training split, with a limit from training pictures that it did not learn from. Validation and test are not read.
`python -m train.geometry` measures it on validation.
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from src.pictures import magnification
from src.pictures.magnification import Classifier, texture
from src.tasks import TASKS, Task
from train.data import DataMissing, Sample, load
from train.evaluation.magnification import as_jpeg, shown_at
from train.quality import subsample

SEED = 0
MAGNIFICATIONS = (0.25, 0.5, 1.0, 2.0)
TRAINING_PICTURES = 1500
HELD_OUT = 5
"""Every fifth of them chooses the limit instead."""
FALSE_ALARMS = 0.02
"""The share of the held-out training pictures that are warned of although they are right."""


def captured(image: Image.Image, rng: random.Random) -> Image.Image:
    """The same picture by another camera: sharper or less sharp, in other light, and as JPEG of another quality."""
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    elif rng.random() < 0.5:
        image = image.filter(ImageFilter.UnsharpMask(rng.uniform(0.7, 1.5), round(rng.uniform(50, 180)), 0))
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(rng.uniform(0.85, 1.15))
    return as_jpeg(image, rng.randint(60, 95)) if rng.random() < 0.7 else image


def fit(task: Task, samples: Sequence[Sample]) -> Classifier:
    """The classifier of a task, from its training `samples`."""
    rng, side = random.Random(SEED), task.input_side
    rows, classes, held_out = [], [], []
    for number, sample in enumerate(tqdm(samples, desc=task.name, unit="image")):
        image = sample.picture().image
        for index, factor in enumerate(MAGNIFICATIONS):
            rows.append(texture(captured(shown_at(image, factor, side), rng), side))
            classes.append(index)
            held_out.append(number % HELD_OUT == 0)
    found, labels, kept = np.array(rows), np.array(classes), ~np.array(held_out)
    scaler = StandardScaler().fit(found[kept])
    model = LogisticRegression(max_iter=2000).fit(scaler.transform(found[kept]), labels[kept])
    right = MAGNIFICATIONS.index(1)
    others = 1 - model.predict_proba(scaler.transform(found[~kept & (labels == right)]))[:, right]
    return Classifier(
        side=side,
        n=len(samples),
        magnifications=MAGNIFICATIONS,
        mean=_rounded(scaler.mean_),
        scale=_rounded(scaler.scale_),
        weights=tuple(_rounded(row) for row in model.coef_),
        bias=_rounded(model.intercept_),
        limit=round(float(np.quantile(others, 1 - FALSE_ALARMS)), 6),
    )


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status, 1 with one sentence on standard error where it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m train.magnification", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    options = parser.parse_args(arguments)
    content = {}
    try:
        for name, task in TASKS.items():
            if task.mpp is not None:
                training = [sample for sample in load(name, options.data) if sample.split == "train"]
                fitted = fit(task, subsample(training, TRAINING_PICTURES))
                content[name] = fitted.model_dump(mode="json")
    except DataMissing as error:
        print(error, file=sys.stderr)
        return 1
    magnification.FILE.write_text(json.dumps(content) + "\n", encoding="utf-8")
    magnification.classifiers.cache_clear()
    limits = ", ".join(f"{name} {one['limit']:.3f}" for name, one in content.items())
    print(f"{magnification.FILE}: limit of {limits}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
