"""Images that are read in parts: tiles of a known scale, and two views of ultrasound."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.models import checkpoints
from src.models.perturbations import predict_perturbed
from src.models.prediction import Prediction, Verdict
from src.models.predictor import Predictor
from src.pictures.picture import ImageRefused, Picture
from src.results import decisions
from tests.support import synthetic_checkpoints

SIDE, MPP = 96, 0.97


@pytest.fixture(scope="module")
def histopathology(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = synthetic_checkpoints.write(
        tmp_path_factory.mktemp("histopathology"), "histopathology", test_time_augmentation="flips"
    )
    return Predictor(checkpoints.load("histopathology", folder))


@pytest.fixture(scope="module")
def ultrasound(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = synthetic_checkpoints.write(tmp_path_factory.mktemp("ultrasound"), "ultrasound", input_size=(3, 32, 32))
    return Predictor(checkpoints.load("ultrasound", folder))


def tile(seed: int, side: int = SIDE) -> Image.Image:
    blotches = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(blotches).resize((side, side), Image.Resampling.BICUBIC)


def sheet(columns: int, rows: int) -> Image.Image:
    whole = Image.new("RGB", (columns * SIDE, rows * SIDE))
    for i in range(columns * rows):
        whole.paste(tile(i), (i % columns * SIDE, i // columns * SIDE))
    return whole


def alone(predictor: Predictor, image: Image.Image) -> Prediction:
    return predictor.predict(Picture(image, ()))


def test_the_highest_tile_is_reported_with_the_mean_and_the_number(histopathology: Predictor) -> None:
    expected = [alone(histopathology, tile(i)).p_malignant for i in range(6)]
    answer = histopathology.predict(Picture(sheet(3, 2), ("A note.",), MPP), "Grad-CAM")
    assert answer.parts is not None
    assert answer.parts.p_malignant == pytest.approx(expected, abs=1e-5)
    assert answer.p_malignant == max(answer.parts.p_malignant)
    highest = int(np.argmax(expected))
    assert answer.box == tuple(SIDE * n for n in (highest % 3, highest // 3, highest % 3 + 1, highest // 3 + 1))
    assert answer.region == "tile"
    assert answer.warnings[0] == (
        "At 0.97 µm per pixel, the image was read as 6 tiles of 93 µm: the highest p(malignant) is reported, and the "
        f"mean over the tiles is {np.mean(expected):.2f}."
    )
    assert "A note." in answer.warnings
    assert answer.heat_map is not None
    assert answer.heat_map.box == answer.box
    by_itself = histopathology.predict(Picture(tile(highest), ()), "Grad-CAM").heat_map
    assert by_itself is not None
    np.testing.assert_allclose(answer.heat_map.values, by_itself.values, atol=1e-3)
    result = decisions.decided(histopathology.checkpoint, answer, "Grad-CAM", 0.3)
    assert result.parts is not None
    assert (result.parts.kind, result.parts.count, result.parts.counted, result.parts.mpp) == ("tiles", 6, 6, MPP)
    assert result.parts.mean_p_malignant == pytest.approx(np.mean(expected), abs=1e-5)
    assert result.region == answer.box


def test_many_are_read_as_alone(histopathology: Predictor) -> None:
    pictures = [
        Picture(sheet(2, 2), (), MPP),
        Picture(tile(7), ()),
        Picture(sheet(9, 9), (), MPP),
        Picture(tile(8), ()),
    ]
    found = list(histopathology.predict_many(pictures, batch_size=3))
    assert isinstance(found[2], ImageRefused)
    for picture, answer in zip(pictures, found, strict=True):
        if isinstance(answer, Prediction):
            assert answer.p_malignant == pytest.approx(histopathology.predict(picture).p_malignant, abs=1e-5)
    whole, given = (list(histopathology.predict_many([Picture(sheet(2, 2), ())], mpp=mpp)) for mpp in (None, MPP))
    assert isinstance(whole[0], Prediction)
    assert isinstance(given[0], Prediction)
    assert whole[0].parts is None
    assert given[0].parts is not None
    (undivided,) = histopathology.predict_many([pictures[0]], in_parts=False)
    assert isinstance(undivided, Prediction)
    assert undivided.p_malignant == pytest.approx(whole[0].p_malignant, abs=1e-5)


def test_a_scale_given_rules_over_the_files(histopathology: Predictor) -> None:
    picture = Picture(sheet(2, 2), (), MPP)
    assert picture.at(None) is picture
    answer = histopathology.predict(picture.at(2 * MPP))
    assert answer.parts is not None
    assert len(answer.parts.p_malignant) == 16
    assert any("details are missing" in sentence for sentence in answer.warnings)


def test_parts_that_the_gate_rejects_do_not_count(histopathology: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [alone(histopathology, tile(i)).p_malignant for i in range(4)]
    order = np.argsort(expected)[::-1].tolist()

    gate = synthetic_checkpoints.gate(1.0)
    gated = Predictor(replace(histopathology.checkpoint, gate=gate))

    def reject(indices: Sequence[int]) -> None:
        verdicts = [Verdict(2.0 if i in indices else 0.0, 1.0) for i in range(4)]
        monkeypatch.setattr(gate, "verdicts", lambda *_: verdicts)

    reject(order[:1])
    answer = gated.predict(Picture(sheet(2, 2), (), MPP))
    assert answer.p_malignant == pytest.approx(expected[order[1]], abs=1e-5)
    assert answer.gate is not None
    assert answer.gate.accepted
    assert answer.parts is not None
    assert answer.parts.mean == pytest.approx(np.mean([expected[i] for i in order[1:]]), abs=1e-5)
    assert (
        "1 of them does not look like H&E-stained histology and does not count; the highest p(malignant) there is "
        f"{max(expected):.2f}."
    ) in answer.warnings
    reject(order)
    answer = gated.predict(Picture(sheet(2, 2), (), MPP))
    assert answer.p_malignant == pytest.approx(max(expected), abs=1e-5)
    assert answer.gate is not None
    assert not answer.gate.accepted


def test_less_than_a_field_is_said_and_its_heat_map_lies_over_the_picture(histopathology: Predictor) -> None:
    image = tile(3).crop((0, 0, 48, 96))
    answer = histopathology.predict(Picture(image, (), MPP), "Grad-CAM")
    assert answer.warnings[0].startswith("At 0.97 µm per pixel, the image shows 47 × 93 µm, less than the 93 µm ")
    assert answer.heat_map is not None
    assert answer.heat_map.box == (0, 0, 48, 96)
    assert answer.heat_map.values.shape == (96, 48)
    assert answer.label_box == pytest.approx((1 / 6, 1 / 3, 5 / 6, 2 / 3))
    assert alone(histopathology, image).label_box == pytest.approx((1 / 3, 1 / 3, 2 / 3, 2 / 3))


def test_small_changes_are_of_the_part_that_is_reported(histopathology: Predictor) -> None:
    picture = Picture(sheet(2, 2), (), MPP)
    prediction, changed = predict_perturbed(histopathology, picture)
    assert prediction.p_malignant == pytest.approx(histopathology.predict(picture).p_malignant, abs=1e-5)
    assert len(changed) > 1


def scan(seed: int, level: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    values = level + 25 * np.sin(np.linspace(0, 3 + seed, 180))[:, None] + rng.normal(0, 4, (180, 200))
    return Image.fromarray(values.clip(10, 250).astype(np.uint8)).convert("RGB")


def test_two_views_are_read_apart_and_the_higher_is_reported(ultrasound: Predictor) -> None:
    both = Image.new("RGB", (404, 180))
    both.paste(scan(1, 120), (0, 0))
    both.paste(scan(4, 60), (204, 0))
    answer = ultrasound.predict(Picture(both, ()))
    assert answer.parts is not None
    assert answer.parts.kind == "views"
    assert answer.parts.mpp is None
    halves = [alone(ultrasound, both.crop(box)).p_malignant for box in ((0, 0, 200, 180), (204, 0, 404, 180))]
    assert answer.parts.p_malignant == pytest.approx(halves, abs=0.05)
    assert answer.p_malignant == max(answer.parts.p_malignant)
    left = answer.parts.chosen == 0
    assert answer.box[0] == (0 if left else 204) or abs(answer.box[0] - 202) <= 3
    other = min(answer.parts.p_malignant)
    assert answer.warnings[0].startswith("The image seems to show two views side by side, and each was read.")
    assert f"the other is {other:.2f}." in answer.warnings[0]
    assert alone(ultrasound, scan(1, 120)).parts is None


def test_another_task_has_no_scale(ultrasound: Predictor) -> None:
    with_scale, without = (ultrasound.predict(Picture(scan(1, 120), (), mpp)) for mpp in (0.5, None))
    assert with_scale.parts is None
    assert with_scale.p_malignant == without.p_malignant


def test_an_answer_that_is_no_number_is_refused(tmp_path: Path) -> None:
    folder = synthetic_checkpoints.write(tmp_path, "histopathology")
    predictor = Predictor(replace(checkpoints.load("histopathology", folder)))
    with torch.no_grad():
        for parameter in predictor.checkpoint.network.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(ImageRefused, match="not a number"):
        predictor.predict(Picture(sheet(2, 2), (), MPP))
