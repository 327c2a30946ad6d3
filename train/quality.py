"""Derive the limits of the quality warnings from training images, and evaluate how each flaw changes predictions.

    python -m train.quality --data DIR

The command writes src/pictures/quality.json. For each task the file has percentiles of a seeded sample of training
images; `src.pictures.flaws.FLAWS` names the percentiles. They are computed for each source. The limit is the one that
warns least, because a large source would otherwise decide for a small one. The command reads no validation, test or
external image. `measure_effects` is for `train.evaluate`: it puts each flaw into validation images and compares the
predictions.
"""

import argparse
import json
import logging
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from tqdm import tqdm

from src.models.prediction import Prediction
from src.models.predictor import Predictor
from src.pictures import quality, scanned_field
from src.pictures.flaws import FLAWS
from src.pictures.limits import MIN_SIDE
from src.pictures.picture import Picture
from src.pictures.quality_measures import measure
from src.results.thresholds import decide
from src.tasks import TASKS, Task
from train.data import DataMissing, Sample, load

SEED = 0
TRAINING_IMAGES = 1000
"""The largest number of training images per source."""
VALIDATION_IMAGES = 100
"""The largest number of validation images into which flaws are put."""


def subsample(samples: Sequence[Sample], n: int) -> list[Sample]:
    """At most `n` of the samples, drawn at random but the same every time."""
    return list(samples) if len(samples) <= n else random.Random(SEED).sample(list(samples), n)


def derive_limits(task: Task, samples: Sequence[Sample]) -> dict[str, Any]:
    """A task's entry in quality.json, from its training `samples`."""
    side = task.input_side
    measures: dict[str, list[dict[str, float]]] = defaultdict(list)
    for sample in tqdm(samples, desc=task.name, unit="image"):
        measures[sample.source].append(_measures(sample.picture().image, task, side))
    limits = {}
    for flaw in FLAWS:
        if flaw.applies(task):
            percentile = flaw.percent if flaw.tail == "low" else 100 - flaw.percent
            by_source = [
                float(np.percentile([by_name[flaw.measure] for by_name in inside], percentile))
                for inside in measures.values()
            ]
            limit = min(by_source) if flaw.tail == "low" else max(*by_source, flaw.at_least)
            limits[flaw.code] = {"percentile": percentile, "limit": round(limit, 4)}
    return {"side": side, "n": len(samples), "limits": limits}


def _measures(image: Image.Image, task: Task, side: int) -> dict[str, float]:
    return measure(image, scanned_field.crop(image, task).image, task, side)


def _blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(min(image.size) / 60))


def _flat(image: Image.Image) -> Image.Image:
    mean = tuple(round(float(channel)) for channel in np.asarray(image).mean(axis=(0, 1)))
    return Image.blend(Image.new("RGB", image.size, mean), image, 0.15)


def _balance(red: float, green: float, blue: float) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        gains = np.array((red, green, blue), dtype=np.float32)
        return Image.fromarray((np.asarray(image) * gains).clip(0, 255).astype(np.uint8))

    return change


def _level(gain: float) -> Callable[[Image.Image], Image.Image]:
    return _balance(gain, gain, gain)


def _small_copy(image: Image.Image) -> Image.Image:
    scale = max(MIN_SIDE / min(image.size), 0.25)
    return image.resize((max(28, round(image.width * scale)), max(28, round(image.height * scale))))


def _strip(image: Image.Image) -> Image.Image:
    high = max(MIN_SIDE, round(image.width / 4))
    return ImageOps.fit(image, (image.width, high)) if high < image.height else image


def _doppler(image: Image.Image) -> Image.Image:
    painted = image.copy()
    draw = ImageDraw.Draw(painted)
    width, height = image.size
    for i, colour in enumerate(((220, 40, 20), (30, 60, 230), (240, 120, 30), (20, 120, 240))):
        x, y = width * (0.4 + 0.06 * i), height * (0.4 + 0.05 * (i % 2))
        draw.ellipse((x, y, x + 0.08 * width, y + 0.06 * height), fill=colour)
    return painted


def _callipers(image: Image.Image) -> Image.Image:
    marked = image.copy()
    draw = ImageDraw.Draw(marked)
    width, height = image.size
    arm = max(4, round(max(image.size) / 384 * 5))
    line = max(1, round(max(image.size) / 384))
    for x, y in ((0.3, 0.5), (0.7, 0.5), (0.5, 0.35), (0.5, 0.65)):
        a, b = round(x * width), round(y * height)
        draw.line((a - arm, b, a + arm, b), fill="white", width=line)
        draw.line((a, b - arm, a, b + arm), fill="white", width=line)
    return marked


def _text(image: Image.Image) -> Image.Image:
    marked = image.copy()
    size = max(11, round(max(image.size) / 384 * 13))
    # Scanners outline letters, so that they can be read on bright tissue.
    style: Any = {"fill": "white", "stroke_fill": "black", "stroke_width": max(1, size // 8), "font_size": size}
    ImageDraw.Draw(marked).text((0.3 * image.width, 0.8 * image.height), "RT  BREAST  10  H  2.1 CM", **style)
    return marked


PUT_FLAW: Mapping[str, Callable[[Image.Image], Image.Image]] = MappingProxyType(
    {
        "resolution": _small_copy,
        "narrow": _strip,
        "focus": _blurred,
        "contrast": _flat,
        "dark": _level(0.25),
        "overexposed": _level(2.5),
        "no_colour": lambda image: image.convert("L").convert("RGB"),
        "green_cast": _balance(0.75, 1.15, 0.9),
        "red_cast": _balance(1.3, 0.75, 0.85),
        "blue_cast": _balance(0.75, 0.8, 1.3),
        "yellow_cast": _balance(1.1, 1.05, 0.5),
        "tint": _balance(1.0, 0.85, 0.6),
        "doppler": _doppler,
        "callipers": _callipers,
        "text": _text,
    }
)
"""Flaw code -> a function that puts this flaw into an upright RGB image, strongly enough to be obvious."""


def measure_effects(predictor: Predictor, samples: Sequence[Sample], threshold: float) -> dict[str, Any]:
    """The entry `quality` of evaluation.json, from at most VALIDATION_IMAGES of `samples`.

    "unflawed" has the share of unchanged images that get each warning. "effects" has the effect of each flaw on the
    predictions (`flaws.Effect`). There, "refused" is the share of flawed images that the gate refuses; None for a
    checkpoint without a gate. Raises ImageRefused.
    """
    pictures = [sample.picture() for sample in subsample(samples, VALIDATION_IMAGES)]
    flaws = [flaw for flaw in FLAWS if flaw.applies(predictor.task)]
    before, warned_before, _ = _predict(predictor, pictures)
    effects = {}
    for flaw in tqdm(flaws, desc="flaws", unit="flaw"):
        flawed = [replace(one, image=PUT_FLAW[flaw.code](one.image)) for one in pictures]
        if all(one.image == other.image for one, other in zip(pictures, flawed, strict=True)):
            continue  # an image of 28 × 28 pixels cannot get smaller or narrower
        after, warned, refused = _predict(predictor, flawed)
        changed = [decide(p, threshold) != decide(q, threshold) for p, q in zip(before, after, strict=True)]
        effects[flaw.code] = {
            "n": len(pictures),
            "mean_change": float(np.mean(np.abs(np.array(after) - np.array(before)))),
            "flipped": float(np.mean(changed)),
            "warned": float(np.mean([flaw.code in codes for codes in warned])),
            "refused": float(np.mean(refused)) if predictor.checkpoint.gate is not None else None,
        }
    unflawed = {flaw.code: float(np.mean([flaw.code in codes for codes in warned_before])) for flaw in flaws}
    return {"threshold": threshold, "unflawed": unflawed, "effects": effects}


def _predict(predictor: Predictor, pictures: Iterable[Picture]) -> tuple[list[float], list[set[str]], list[bool]]:
    """Of each image: p(malignant), the codes of the flaws in its warnings, and whether the gate refuses it."""
    sentences = {flaw.code: flaw.sentence(predictor.task) for flaw in FLAWS}
    scores, warned, refused = [], [], []
    for prediction in predictor.predict_many(pictures):
        if not isinstance(prediction, Prediction):
            raise prediction
        scores.append(prediction.p_malignant)
        refused.append(prediction.gate is not None and not prediction.gate.accepted)
        lines = prediction.warnings
        warned.append({code for code, text in sentences.items() if any(line.startswith(text) for line in lines)})
    return scores, warned, refused


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 1, with one sentence on standard error, if it fails."""
    parser = argparse.ArgumentParser(prog="python -m train.quality", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the datasets")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="default: all")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        content = {name: derive_limits(TASKS[name], _training(name, options.data)) for name in options.tasks}
    except DataMissing as error:
        print(error, file=sys.stderr)
        return 1
    write_limits(content)
    print(f"{quality.FILE}: limits of {', '.join(content)}")
    return 0


def _training(task: str, data: Path) -> list[Sample]:
    """At most TRAINING_IMAGES training images of each source of a task. Raises DataMissing."""
    by_source: dict[str, list[Sample]] = defaultdict(list)
    for sample in load(task, data):
        if sample.split == "train":
            by_source[sample.source].append(sample)
    return [sample for inside in by_source.values() for sample in subsample(inside, TRAINING_IMAGES)]


def write_limits(content: Mapping[str, Any], file: Path = quality.FILE) -> None:
    """Write the tasks in `content` into quality.json; the other tasks there stay as they are."""
    all_tasks = {**(json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}), **content}
    ordered = {name: all_tasks[name] for name in TASKS if name in all_tasks}
    file.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    quality.limits.cache_clear()


if __name__ == "__main__":
    sys.exit(main())
