"""src/models/perturbations.py and train/evaluation/robustness.py: the small changes, and the share of decisions that
they flip."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from src.models import checkpoints, evaluation, perturbations
from src.models.predictor import Predictor
from src.pictures import decode
from src.pictures.picture import ImageRefused, Picture
from src.results.thresholds import proportion_interval
from src.service import read_picture
from src.service.arguments import ArgumentRefused
from src.tasks import TASKS
from tests.support import synthetic_checkpoints, synthetic_datasets
from train import evaluate
from train.evaluation import robustness


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = synthetic_checkpoints.write(tmp_path_factory.mktemp("checkpoint"), "breastmnist")
    return Predictor(checkpoints.load("breastmnist", folder))


def photograph(width: int = 90, height: int = 60, seed: int = 0) -> Image.Image:
    return Image.fromarray(synthetic_datasets.colour(np.random.default_rng(seed), 1, 4, width, height))


def changed(task: str, image: Image.Image) -> dict[str, np.ndarray]:
    return {view.name: np.asarray(view.change(image)).astype(int) for view in perturbations.perturbations(TASKS[task])}


def test_what_is_tried_on_which_task() -> None:
    names = {name: [view.name for view in perturbations.perturbations(task)] for name, task in TASKS.items()}
    assert (
        names["ultrasound"]
        == names["breastmnist"]
        == [
            *("15% brighter", "15% darker", "turned 5° to the left", "turned 5° to the right", "4% cut off all round"),
            *("JPEG of quality 50", "moved 4% to the right", "moved 4% down"),
        ]
    )
    assert names["skin"] == [*names["ultrasound"], "mirrored left to right", "mirrored upside down"]
    assert names["histopathology"] == [name for name in names["skin"] if "moved" not in name]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", [(90, 60), (28, 28), (3000, 30), (96, 96)])
def test_every_perturbation_is_a_small_change_and_always_the_same(task: str, size: tuple[int, int]) -> None:
    image = photograph(*size)
    before, pixels = image.tobytes(), np.asarray(image).astype(int)
    first, again = changed(task, image), changed(task, image)
    assert len(first) == len(perturbations.perturbations(TASKS[task])), "no two perturbations have one name"
    for name, view in first.items():
        assert np.array_equal(view, again[name]), name
        if "cut" in name:
            assert all(
                length - 2 * max(1, round(0.04 * length)) == cut
                for length, cut in zip(size, view.shape[1::-1], strict=True)
            )
            continue
        assert view.shape == pixels.shape, name
        assert not np.array_equal(view, pixels), name
        # No black corner, no empty edge: what comes in is the picture's own.
        assert pixels.min() * 0.8 - 12 <= view.min(), name
        if "mirrored" not in name:
            assert np.abs(view.mean() - pixels.mean()) < 0.2 * pixels.mean(), name
    assert image.tobytes() == before


def test_each_perturbation_does_what_it_says() -> None:
    image = Image.new("RGB", (200, 100), (100, 100, 100))
    ImageDraw.Draw(image).rectangle((150, 40, 159, 49), fill=(200, 200, 200))
    views = changed("skin", image)

    def place(view: np.ndarray) -> tuple[float, float]:
        rows, columns = np.nonzero(view[..., 0] > 150)
        return float(columns.mean()), float(rows.mean())

    x, y = place(np.asarray(image))
    assert views["15% brighter"][0, 0].tolist() == [115] * 3
    assert views["15% darker"][0, 0].tolist() == [85] * 3
    assert place(views["moved 4% to the right"]) == (x + 8, y)
    assert place(views["moved 4% down"]) == (x, y + 4)
    assert place(views["4% cut off all round"]) == (x - 8, y - 4)
    assert place(views["mirrored left to right"]) == (199 - x, y)
    assert place(views["mirrored upside down"]) == (x, 99 - y)
    # 55 pixels right of the middle: a turn to the left lifts it by 55 sin 5°
    assert place(views["turned 5° to the left"])[1] == pytest.approx(y - 4.8, abs=0.5)
    assert place(views["turned 5° to the right"])[1] == pytest.approx(y + 4.8, abs=0.5)
    jpeg = views["JPEG of quality 50"]
    assert 0 < np.abs(jpeg - np.asarray(image).astype(int)).max() < 60


def test_the_middle_of_a_histology_tile_stays_in_the_middle() -> None:
    tile = Image.new("RGB", (96, 96), (120, 60, 120))
    ImageDraw.Draw(tile).rectangle((40, 40, 55, 55), fill=(250, 200, 250))
    for name, view in changed("histopathology", tile).items():
        rows, columns = np.nonzero(view[..., 1] > 130)
        middle = (view.shape[0] - 1) / 2
        assert (rows.mean(), columns.mean()) == pytest.approx((middle, middle), abs=0.6), name


def test_large_pictures_are_scaled_down_first(monkeypatch: pytest.MonkeyPatch, predictor: Predictor) -> None:
    monkeypatch.setattr(perturbations, "MAX_PIXELS", 10_000)
    seen: list[tuple[int, int]] = []

    def note(image: Image.Image) -> Image.Image:
        seen.append(image.size)
        return image

    monkeypatch.setattr(perturbations, "perturbations", lambda _: (perturbations.Perturbation("as it is", note),))
    prediction, perturbed = perturbations.predict_perturbed(predictor, Picture(photograph(400, 200), ()))
    assert seen == [(141, 71)]
    assert perturbed[0][1] == pytest.approx(prediction.p_malignant, abs=0.02)


@pytest.mark.parametrize("size", [(160_000, 28), (28, 160_000), (40_000, 1000), (1, 1_000_000)])
def test_perturbations_of_a_strip_are_bounded(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, predictor: Predictor
) -> None:
    largest = 0

    def padded(array: np.ndarray, *arguments: Any, **options: Any) -> np.ndarray:
        nonlocal largest
        made: np.ndarray = pad(array, *arguments, **options)
        largest = max(largest, made.nbytes)
        return made

    pad = np.pad
    monkeypatch.setattr(np, "pad", padded)
    small = perturbations.reduced(Image.new("RGB", size, "grey"))
    for view in perturbations.perturbations(predictor.task):
        if "cut" not in view.name:  # of a single row nothing is left
            view.change(small)
    assert 0 < largest <= 3 * 7_000_000


def test_perturbed_pictures_go_through_every_step(predictor: Predictor) -> None:
    picture = Picture(photograph(seed=3), ())
    prediction, perturbed = perturbations.predict_perturbed(predictor, picture)
    assert prediction.p_malignant == pytest.approx(predictor.predict(picture).p_malignant, abs=1e-5)
    for one, (name, found) in zip(perturbations.perturbations(predictor.task), perturbed, strict=True):
        assert name == one.name
        alone = predictor.predict(Picture(one.change(picture.image), ())).p_malignant
        assert found == pytest.approx(alone, abs=1e-5), name
    assert len({round(found, 6) for _, found in perturbed}) > 4


def test_a_perturbed_picture_without_an_answer_is_refused(tmp_path: Path) -> None:
    folder = synthetic_checkpoints.write(tmp_path, "breastmnist", std=[1e-38])
    broken = Predictor(checkpoints.load("breastmnist", folder))
    with pytest.raises(ImageRefused):
        perturbations.predict_perturbed(broken, Picture(photograph(), ()))


def test_the_answer_of_page_and_api(predictor: Predictor, tmp_path: Path) -> None:
    models, file = {"breastmnist": predictor}, tmp_path / "picture.png"
    photograph(seed=5).save(file)
    prediction, views = perturbations.predict_perturbed(predictor, decode.read(file, "black"))
    p = prediction.p_malignant
    every = [p, *(found for _, found in views)]
    between = (min(every) + max(every)) / 2
    for threshold in (0.0, between, 1.0):
        found = read_picture.robustness(models, "breastmnist", str(file), threshold)
        names = ["views", "p_malignant", "lowest", "highest", "flipped", "borderline"]
        assert list(found.model_dump()) == names
        assert [(view.name, view.p_malignant) for view in found.views] == views
        assert [view.decision for view in found.views] == [
            "refer" if one >= threshold else "no referral" for _, one in views
        ]
        assert (found.p_malignant, found.lowest, found.highest) == (p, min(every), max(every))
        assert found.flipped == sum((one >= threshold) != (p >= threshold) for _, one in views)
        assert found.borderline == (min(every) < threshold <= max(every)) == (threshold == between)
    with pytest.raises(ArgumentRefused):
        read_picture.robustness(models, "breastmnist", str(file), 2)
    with pytest.raises(ArgumentRefused):
        read_picture.robustness(models, "breastmnist", str(file), 0.3, "no such model")
    file.write_bytes(b"no picture")
    with pytest.raises(ImageRefused):
        read_picture.robustness(models, "breastmnist", str(file), 0.3)


def test_flips_and_spread_by_hand() -> None:
    scores = np.array([[0.9, 0.8, 0.2], [0.9, 0.7, 0.8], [0.1, 0.4, 0.0], [0.1, 0.1, 0.1], [0.1, 0.2, 0.1]])
    positive = np.array([True, True, False, False, False])
    found = robustness.flip_rates(scores, positive, ["a", "b", "c", "d", "d"], 0.3, ["one", "two"])
    assert (found["n"], found["groups"]) == (5, 4)
    assert [found["pictures"][who]["n"] for who in ("all", "malignant", "other")] == [5, 2, 3]
    assert [found["pictures"][who]["flipped"]["value"] for who in ("all", "malignant", "other")] == [0.4, 0.5, 1 / 3]
    assert [found["views"][name]["value"] for name in ("one", "two")] == [0.2, 0.2]
    assert found["pictures"]["malignant"]["spread"]["value"] == pytest.approx((0.7 + 0.2) / 2)
    # Three pictures of two groups are two cases, and none of two is no proof of none.
    assert found["pictures"]["other"]["flipped"]["interval"] == list(proportion_interval(2 / 3, 2))
    assert robustness.flip_rates(scores[3:], positive[3:], ["d", "d"], 0.3, ["one", "two"])["pictures"]["all"][
        "flipped"
    ] == {
        "value": 0.0,
        "interval": [0.0, pytest.approx(0.975)],
    }
    nobody = robustness.flip_rates(scores[:2], positive[:2], ["a", "b"], 0.3, ["one", "two"])["pictures"]["other"]
    assert nobody["n"] == 0
    assert evaluation.FlipRate.model_validate(nobody).flipped.value is None


def test_an_exact_interval_of_a_fraction_lies_between_its_neighbours() -> None:
    low, high = zip(*(proportion_interval(k, 10) for k in (3, 3.5, 4)), strict=True)
    assert sorted(low) == list(low)
    assert sorted(high) == list(high)


def test_the_sample_is_the_same_every_time_and_no_larger_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    samples: Any = list(range(1000))

    def numbers() -> list[Any]:
        return list(evaluate.examined(samples))

    first = numbers()
    assert first == numbers()
    assert len(set(first)) == len(first) == evaluate.EXAMINED
    assert first != sorted(first)
    monkeypatch.setattr(evaluate, "EXAMINED", 2000)
    assert sorted(numbers()) == samples
