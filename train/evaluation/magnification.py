"""How often `src.pictures.magnification` warns of pictures that are at another magnification, and of others.

A tile shows no more tissue than it has. So less tissue is its enlarged centre, and more tissue is the tile and its
mirror images side by side, scaled down. Real pictures at these magnifications may differ from both.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from src.pictures import magnification
from src.tasks import Task
from train.data import Sample
from train.evaluation import metrics
from train.quality import subsample

VALIDATION_PICTURES = 1000


def shown_at(image: Image.Image, factor: float, side: int) -> Image.Image:
    """An RGB tile as it would look at `factor` times its magnification, `side` pixels square."""
    size = (side, side)
    if factor >= 1:
        margins = [(1 - 1 / factor) / 2 * length for length in image.size]
        box = (margins[0], margins[1], image.width - margins[0], image.height - margins[1])
        return image.resize(size, Image.Resampling.BICUBIC, box=box)
    number, part = round(1 / factor), round(side * factor)
    small = image.resize((part, part), Image.Resampling.BICUBIC)
    whole = Image.new("RGB", size)
    for column in range(number):
        for row in range(number):
            across = ImageOps.mirror(small) if column % 2 else small
            whole.paste(ImageOps.flip(across) if row % 2 else across, (column * part, row * part))
    return whole


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    """The picture saved as JPEG: else the blocks of a set's own JPEG files would give their magnification away."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    with Image.open(file, formats=("JPEG",)) as saved:
        return saved.convert("RGB")


def measure(task: Task, samples: Sequence[Sample]) -> dict[str, Any] | None:
    """What evaluation.json says of the check, from VALIDATION_PICTURES of `samples` that it did not learn from; None
    for a task without one.

    `false_alarms`: the share of the pictures, as they are, that are warned of. `found`: the share that is warned of
    when shown at each other magnification, saved as JPEG.
    """
    classifier = magnification.classifiers().get(task.name)
    if classifier is None:
        return None
    samples = subsample(samples, VALIDATION_PICTURES)
    groups = [f"{sample.source}/{sample.group}" for sample in samples]
    warned: dict[float, list[bool]] = {factor: [] for factor in classifier.magnifications}
    for sample in tqdm(samples, desc="magnification", unit="image"):
        image = sample.picture().image
        for factor, told in warned.items():
            shown = image if factor == 1 else as_jpeg(shown_at(image, factor, classifier.side), 90)
            told.append(classifier.other_magnification(shown) is not None)
    shares = {factor: metrics.share(np.array(told), groups) for factor, told in warned.items()}
    return {
        "n": len(samples),
        "limit": classifier.limit,
        "false_alarms": shares.pop(1.0),
        "found": {f"{factor:g}": share for factor, share in shares.items()},
    }
