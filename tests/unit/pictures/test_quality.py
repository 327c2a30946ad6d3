"""src/pictures/quality.py: limits from training pictures, one warning per flaw, and the effect of a flaw beside it.

All pictures are drawn here; limits are the committed ones (src/pictures/quality.json) where a test does not make its
own.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from src.models import checkpoints, evaluation
from src.models.prediction import Prediction
from src.models.predictor import Predictor
from src.pictures import annotations, flaws, quality
from src.pictures.flaws import FLAWS
from src.pictures.picture import Picture
from src.pictures.quality_measures import measure
from src.pictures.scanned_field import crop
from src.tasks import TASKS
from tests.support import synthetic_checkpoints, synthetic_datasets
from train import quality as derive
from train.data import load

INPUT = {"skin": 224, "ultrasound": 224, "breastmnist": 28, "histopathology": 96}
SIZE = {"skin": (300, 225), "ultrasound": (320, 260), "breastmnist": (28, 28), "histopathology": (96, 96)}


def ordinary(task: str, seed: int = 0) -> Image.Image:
    """A picture with the colours, contrast and grain that the task's sets have."""
    rng = np.random.default_rng(seed)
    width, height = SIZE[task]
    if TASKS[task].colour == "grey":
        layers = 90 + 60 * np.sin(np.linspace(0, 9, height))[:, None]
        speckle = ndimage.gaussian_filter(rng.normal(size=(height, width)), min(width, height) / 130)
        values = (layers * (1 + 0.25 * speckle / speckle.std())).clip(9, 249)
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    ground, spot = ((205, 160, 145), (110, 60, 50)) if task == "skin" else ((225, 190, 220), (120, 60, 140))
    image = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(image)
    for _ in range(1 if task == "skin" else 25):
        side = min(width, height) // (2 if task == "skin" else 8)
        x, y = rng.integers(0, width - side), rng.integers(0, height - side)
        draw.ellipse((int(x), int(y), int(x) + side, int(y) + side), fill=spot)
    grain = rng.normal(0, 6, (height, width, 1))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 249).astype(np.uint8))


def found(image: Image.Image, task: str) -> list[flaws.Flaw]:
    return quality.find_flaws(Picture(image, ()), crop(image, TASKS[task]).image, TASKS[task], INPUT[task])


def codes(image: Image.Image, task: str) -> set[str]:
    return {flaw.code for flaw in found(image, task)}


@pytest.mark.parametrize("task", TASKS)
def test_an_ordinary_picture_has_no_flaw_and_its_notes_are_passed_on(task: str) -> None:
    picture = Picture(ordinary(task), ("A note.",))
    assert quality.warnings(picture, picture.image, TASKS[task], INPUT[task]) == ("A note.",)


OFTEN = ["focus", "contrast", "dark", "narrow"]
PUT_AND_FOUND = [
    *(("skin", code) for code in (*OFTEN, "overexposed", "resolution", "no_colour", "blue_cast", "yellow_cast")),
    *(("ultrasound", code) for code in (*OFTEN, "tint", "doppler", "callipers", "text", "resolution")),
    *(("breastmnist", code) for code in ("contrast", "dark", "tint", "doppler")),
    *(("histopathology", code) for code in ("focus", "dark", "overexposed", "no_colour", "green_cast", "yellow_cast")),
]


@pytest.mark.parametrize(("task", "code"), PUT_AND_FOUND)
def test_a_flaw_that_is_put_in_is_found(task: str, code: str) -> None:
    assert code in codes(derive.PUT_FLAW[code](ordinary(task)), task)


@pytest.mark.parametrize("task", ["skin", "ultrasound"])
def test_a_large_picture_is_judged_as_its_small_copy(task: str) -> None:
    image = ordinary(task)
    large = image.resize((3 * image.width, 3 * image.height), Image.Resampling.BICUBIC)
    assert codes(large, task) == codes(image, task) == set()
    assert "focus" in codes(derive.PUT_FLAW["focus"](large), task)


def test_one_cause_is_warned_of_once() -> None:
    assert codes(Image.new("RGB", (300, 300), (2, 2, 2)), "skin") & {"dark", "contrast", "focus"} == {"dark"}
    assert "focus" not in codes(ordinary("skin").resize((60, 45)), "skin")
    painted = derive.PUT_FLAW["doppler"](derive.PUT_FLAW["tint"](ordinary("ultrasound")))
    assert codes(painted, "ultrasound") & {"tint", "doppler"} == {"doppler"}


def test_letters_are_no_callipers_and_callipers_no_text() -> None:
    with_text, with_callipers = (derive.PUT_FLAW[code](ordinary("ultrasound")) for code in ("text", "callipers"))
    crosses, letters = annotations.count(with_text)
    assert crosses == 0
    assert letters >= 6
    assert annotations.count(with_callipers) == (4, 0)
    assert annotations.count(ordinary("ultrasound")) == (0, 0)


@pytest.mark.parametrize("task", TASKS)
def test_every_flaw_is_said_in_one_line_with_what_to_do(task: str) -> None:
    for flaw in FLAWS:
        if flaw.applies(TASKS[task]):
            said = flaw.sentence(TASKS[task])
            assert ": " in said
            assert said.endswith(".")
            assert "None" not in said
            assert len(said) <= 120


@pytest.mark.parametrize("size", [(28, 28), (5000, 40), (40, 5000), (29, 1000)])
@pytest.mark.parametrize("task", TASKS)
def test_any_shape_can_be_judged(task: str, size: tuple[int, int]) -> None:
    for image in (Image.new("RGB", size), Image.new("RGB", size, "white"), ordinary(task).resize(size)):
        measures = measure(image, crop(image, TASKS[task]).image, TASKS[task], INPUT[task])
        assert np.isfinite(list(measures.values())).all()
        found(image, task)


def test_limits_are_percentiles_of_the_training_split_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several sources, the one that warns least gives the limit."""
    monkeypatch.setattr(derive, "TRAINING_IMAGES", 15)
    file = tmp_path / "quality.json"
    monkeypatch.setattr(quality, "FILE", file)
    monkeypatch.setattr(
        derive, "write_limits", lambda content, file=file, write=derive.write_limits: write(content, file)
    )
    assert derive.main(["--data", str(data)]) == 0
    written = json.loads(file.read_text(encoding="utf-8"))
    assert list(written) == list(TASKS)
    for name, task in TASKS.items():
        samples = [sample for sample in load(name, data) if sample.split == "train"]
        sources = {sample.source for sample in samples}
        assert len(sources) == {"skin": 3, "ultrasound": 3}.get(name, 1)
        values: dict[str, dict[str, list[Any]]] = {flaw.code: {source: [] for source in sources} for flaw in FLAWS}
        read = 0
        for source in sources:
            for sample in derive.subsample([one for one in samples if one.source == source], 15):
                read += 1
                image = sample.picture().image
                measures = measure(image, crop(image, task).image, task, INPUT[name])
                for flaw in FLAWS:
                    values[flaw.code][source].append(measures.get(flaw.measure))
        assert written[name]["n"] == read
        applying = [flaw for flaw in FLAWS if flaw.applies(task)]
        assert set(written[name]["limits"]) == {flaw.code for flaw in applying}
        for flaw in applying:
            percentile = flaw.percent if flaw.tail == "low" else 100 - flaw.percent
            percentiles = [float(np.percentile(found, percentile)) for found in values[flaw.code].values()]
            expected = min(percentiles) if flaw.tail == "low" else max(*percentiles, flaw.at_least)
            assert written[name]["limits"][flaw.code]["percentile"] == percentile
            assert written[name]["limits"][flaw.code]["limit"] == pytest.approx(expected, abs=1e-4)


def test_the_committed_limits_are_of_all_tasks_and_many_pictures() -> None:
    assert list(quality.limits()) == list(TASKS)
    for name, usual in quality.limits().items():
        assert usual.side == INPUT[name]
        assert usual.n >= 300
        assert set(usual.limits) == {flaw.code for flaw in FLAWS if flaw.applies(TASKS[name])}


def test_what_a_flaw_did_is_said_beside_its_warning() -> None:
    dark = Picture(derive.PUT_FLAW["dark"](ordinary("skin")), ())
    effects = {"dark": flaws.Effect(n=100, mean_change=0.123, flipped=0.07, warned=1.0)}
    (plain,) = quality.warnings(dark, dark.image, TASKS["skin"], 224)
    (warning,) = quality.warnings(dark, dark.image, TASKS["skin"], 224, effects)
    added = (
        "(When 100 validation images were given this flaw, p(malignant) changed by 0.12 on average, and 7% of the "
        "decisions changed.)"
    )
    assert warning == f"{plain} {added}"


@pytest.mark.parametrize(
    "part", [None, {}, {"effects": None}, {"effects": {"dark": {"n": 0}}}, {"effects": {"dark": {"flipped": "half"}}}]
)
def test_an_evaluation_without_effects_is_done_without(part: object) -> None:
    assert evaluation.parse({"splits": {"validation": {"quality": part}}}).flaw_effects == {}
    assert evaluation.parse(None).flaw_effects == {}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = synthetic_checkpoints.write(tmp_path_factory.mktemp("checkpoint"), "breastmnist")
    return Predictor(checkpoints.load("breastmnist", folder))


def test_effects_are_counted_by_hand(predictor: Predictor, tmp_path: Path) -> None:
    synthetic_datasets.breastmnist(tmp_path / "breastmnist")
    samples = [sample for sample in load("breastmnist", tmp_path) if sample.split == "validation"]
    found = derive.measure_effects(predictor, samples, 0.4)
    assert set(found["unflawed"]) == {flaw.code for flaw in FLAWS if flaw.applies(predictor.task)}
    # Of 28 × 28 pixels there is no smaller copy and no strip.
    assert set(found["unflawed"]) - set(found["effects"]) == {"resolution", "narrow"}

    def p(change: Callable[[Image.Image], Image.Image]) -> list[float]:
        answers = [predictor.predict(Picture(change(sample.picture().image), ())) for sample in samples]
        assert all(isinstance(answer, Prediction) for answer in answers)
        return [answer.p_malignant for answer in answers]

    before, after = np.array(p(lambda image: image)), np.array(p(derive.PUT_FLAW["dark"]))
    dark = found["effects"]["dark"]
    assert dark["n"] == len(samples)
    assert dark["mean_change"] == pytest.approx(np.abs(before - after).mean(), abs=1e-5)
    assert dark["flipped"] == pytest.approx(((before >= 0.4) != (after >= 0.4)).mean())
    assert dark["mean_change"] > 0
    assert derive.measure_effects(predictor, samples, 0.4) == found
