"""What gives a source away: each clue is found where it is put in, and nowhere else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from src.tasks import TASKS
from tests.support import synthetic_datasets
from train import sources
from train.data import Sample


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


@pytest.mark.parametrize(("clue", "change"), [("frame", framed), ("colour", green), ("shape", wide)])
def test_the_clue_that_was_put_in_tells_the_source(clue: str, change: object) -> None:
    rng = np.random.default_rng(0)
    task, found, samples = TASKS["skin"], [], []
    for number in range(60):
        image = Image.fromarray(synthetic_datasets.colour(rng, 5, 7, 80, 64))
        source = "away" if number % 2 else "home"
        assert callable(change)
        found.append(sources.clues(change(image) if source == "away" else image, task))
        samples.append(Sample(f"{number}", 5, f"{number}", "train", source, Path()))
    told = sources.guessed(found, samples)
    assert told[clue] > 0.95
    assert told["all"] > 0.95
    if clue != "shape":
        assert told["shape"] == 0.5
    nothing = sources.guessed(found, [replace(s, source="home" if i < 30 else "away") for i, s in enumerate(samples)])
    assert nothing[clue] < 0.75


def test_as_many_of_each_class_are_drawn_from_each_source() -> None:
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
