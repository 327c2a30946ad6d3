"""src/pictures/magnification.py: whether a texture seems to be at another magnification."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from src.models import checkpoints
from src.models.predictor import Predictor
from src.pictures import magnification
from src.pictures.magnification import FEATURES, classifiers, texture, warnings
from src.pictures.picture import Picture
from src.tasks import TASKS
from tests.support import synthetic_checkpoints
from train import geometry
from train import magnification as command
from train.data import load
from train.evaluation.magnification import measure, shown_at

TASK = TASKS["histopathology"]


def tissue(seed: int, nucleus: float = 3.0, side: int = 96) -> Image.Image:
    """A drawn tile: purple nuclei of so many pixels on pink."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(side, side)), nucleus)
    dark = (noise > np.quantile(noise, 0.7))[..., None]
    values = np.where(dark, (110, 60, 140), (225, 180, 215)) + rng.normal(0, 4, (side, side, 3))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def test_texture_depends_on_scale_and_not_on_light_or_stain() -> None:
    image = tissue(0)
    found = texture(image, 96)
    assert found.shape == (FEATURES,)
    darker = Image.fromarray((np.asarray(image) * 0.8).astype(np.uint8))
    assert np.abs(texture(darker, 96) - found).max() < 0.6
    other = np.abs(texture(shown_at(image, 2.0, 96), 96) - found).max()
    assert other > 1.5
    # The picture's own size plays no part.
    large = image.resize((384, 384), Image.Resampling.BICUBIC)
    assert np.abs(texture(large, 96) - found)[:8].max() < 0.3


@pytest.mark.parametrize("colour", ["black", "white", "red"])
def test_a_uniform_picture_has_a_texture(colour: str) -> None:
    assert np.isfinite(texture(Image.new("RGB", (96, 96), colour), 96)).all()


def test_shown_at_another_magnification() -> None:
    image = tissue(0)
    assert shown_at(image, 1.0, 96).tobytes() == image.tobytes()
    more = np.asarray(shown_at(image, 0.5, 96)).astype(int)
    np.testing.assert_array_equal(more[:, :48], more[:, :47:-1])
    less = shown_at(image, 2.0, 96)
    centre = image.crop((24, 24, 72, 72)).resize((96, 96), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(less).astype(int) - np.asarray(centre)).mean() < 4


@pytest.fixture
def fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with drawn tiles, on which the check was fitted by the command."""
    for split, number in (("train", 60), ("valid", 20), ("test", 4)):
        for label in "01":
            for seed in range(number // 2):
                path = tmp_path / "pcam" / split / label / f"{split}{label}{seed}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                tissue(1000 * len(split) + 10 * seed + int(label)).save(path)
    monkeypatch.setattr(magnification, "FILE", tmp_path / "magnification.json")
    classifiers.cache_clear()
    assert classifiers() == {}
    assert warnings(tissue(0), TASK) == ()
    assert command.main(["--data", str(tmp_path)]) == 0
    yield tmp_path
    monkeypatch.undo()
    classifiers.cache_clear()


def test_the_command_fits_a_check_that_is_measured_on_others(fitted: Path) -> None:
    assert list(classifiers()) == [name for name, task in TASKS.items() if task.mpp is not None]
    samples = [sample for sample in load("histopathology", fitted) if sample.split == "validation"]
    found = measure(TASK, samples)
    assert found is not None
    assert found["n"] == 20
    assert found["false_alarms"]["value"] <= 0.3
    assert list(found["found"]) == ["0.25", "0.5", "2"]
    assert all(share["value"] >= 0.7 for share in found["found"].values())
    assert all(share["interval"][0] < share["value"] + 1e-9 for share in found["found"].values())
    assert measure(TASKS["skin"], samples) is None


@pytest.mark.usefixtures("fitted")
def test_the_warning_says_which_way_and_what_to_do() -> None:
    (less,) = warnings(shown_at(tissue(5), 2.0, 96), TASK)
    assert less == (
        "The image seems to be at another magnification and to show less tissue than the 93 µm that the model "
        "learned from: state its micrometres per pixel."
    )
    (more,) = warnings(shown_at(tissue(5), 0.25, 96), TASK)
    assert "to show more tissue" in more
    assert warnings(shown_at(tissue(5), 2.0, 96), TASKS["skin"]) == ()


def test_only_a_picture_of_unknown_scale_is_checked(fitted: Path) -> None:
    folder = synthetic_checkpoints.write(fitted / "checkpoint", "histopathology")
    predictor = Predictor(checkpoints.load("histopathology", folder))
    image = shown_at(tissue(5), 2.0, 96)
    told = "seems to be at another magnification"
    assert any(told in one for one in predictor.predict(Picture(image, ())).warnings)
    assert not any(told in one for one in predictor.predict(Picture(image, (), 0.97)).warnings)


def test_the_committed_check_is_of_every_task_with_a_scale() -> None:
    assert {name for name, task in TASKS.items() if task.mpp is not None} == set(classifiers())
    for name, one in classifiers().items():
        assert one.side == TASKS[name].input_side
        assert one.n >= 1000
        assert len(one.weights) == len(one.bias) == len(one.magnifications)
        assert {len(row) for row in one.weights} == {len(one.mean)} == {len(one.scale)} == {FEATURES}


@pytest.mark.slow
def test_the_command_for_geometry_changes_nothing_else(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = synthetic_checkpoints.trained(tmp_path / "run", "ultrasound", data)
    file = folder / "evaluation.json"
    assert geometry.main([str(folder), "--data", str(data)]) == 1  # not evaluated yet
    synthetic_checkpoints.rewrite(
        file, synthetic_checkpoints.evaluation(checkpoints.sha256(folder / "model.safetensors"), "ultrasound")
    )
    before = json.loads(file.read_text(encoding="utf-8"))
    monkeypatch.setattr("train.card.write_card", lambda _: None)
    assert geometry.main([str(folder), "--data", str(data)]) == 0
    after = json.loads(file.read_text(encoding="utf-8"))
    views = after["splits"]["validation"].pop("views")
    assert after == before
    assert set(views["whole"]) == set(views["apart"]) == {"sensitivity", "specificity"}
    assert views["n"] >= views["pairs"] / 2
