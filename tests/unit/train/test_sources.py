"""train/sources.py: a statistic reveals the source if, and only if, it was changed in one source."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from src.tasks import TASKS
from tests.support import synthetic_datasets
from train import sources
from train.data import Sample
from train.quality import PUT_FLAW


def framed(image: Image.Image) -> Image.Image:
    out = Image.new("RGB", image.size)
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).ellipse((0, 0, image.width, image.height), fill=255)
    out.paste(image, mask=mask)
    return out


def green(image: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(image) * [0.7, 1.0, 0.7]).astype(np.uint8))


def wide(image: Image.Image) -> Image.Image:
    return image.resize((image.width * 2, image.height))


@pytest.mark.parametrize(
    ("changed", "change"), [("frame", framed), ("colour", green), ("shape", wide), ("marks", PUT_FLAW["text"])]
)
def test_the_statistic_that_was_changed_reveals_the_source(changed: str, change: object) -> None:
    rng = np.random.default_rng(0)
    task, statistics, samples = TASKS["skin"], [], []
    for number in range(60):
        image = Image.fromarray(synthetic_datasets.colour(rng, 5, 7, 80, 64))
        source = "away" if number % 2 else "home"
        assert callable(change)
        statistics.append(sources.plain_statistics(change(image) if source == "away" else image, task))
        samples.append(Sample(f"{number}", 5, f"{number}", "train", source, Path()))
    aucs = sources.source_aucs(statistics, samples)
    assert aucs[changed] > 0.95
    assert aucs["all"] > 0.95
    if changed != "shape":
        assert aucs["shape"] == 0.5
    random_sources = sources.source_aucs(
        statistics, [replace(s, source="home" if i < 30 else "away") for i, s in enumerate(samples)]
    )
    assert random_sources[changed] < 0.75


def test_each_source_gives_the_same_number_per_class() -> None:
    samples = [
        Sample(f"{source}{label}{n}", label, f"{source}{label}{n}", split, source, Path())
        for source, label, count in (("home", 0, 20), ("home", 1, 6), ("home", 2, 9), ("away", 0, 8), ("away", 1, 9))
        for split in ("train", "test")
        for n in range(count)
    ]
    chosen = sources.balanced(samples)
    assert {s.split for s in chosen} == {"train"}
    counts = {(s.source, s.label): sum((o.source, o.label) == (s.source, s.label) for o in chosen) for s in chosen}
    assert counts == {("home", 0): 8, ("away", 0): 8, ("home", 1): 6, ("away", 1): 6}
