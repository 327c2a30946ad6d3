"""Checkpoints of several networks: the mean of their logits, and folders that do not verify."""

import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from src import export
from src.models import checkpoints, standalone
from src.models.checkpoint_info import CheckpointError
from src.models.checkpoints import Checkpoint, Member
from src.models.config import MOST_MEMBERS, member_file
from src.models.lesion_finder import LesionFinder
from src.models.prediction import Prediction
from src.models.predictor import Predictor
from src.models.probabilities import calibrated
from src.pictures.picture import Box, Picture
from tests.support import synthetic_checkpoints
from tests.support.synthetic_checkpoints import edit

TEMPERATURES = (0.7, 2.5)
LESION = (10, 20, 70, 60)


def photograph(seed: int) -> Image.Image:
    blotches = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(blotches).resize((150, 110), Image.Resampling.BICUBIC)


def png(seed: int) -> bytes:
    out = io.BytesIO()
    photograph(seed).save(out, "PNG")
    return out.getvalue()


def member(folder: Path, number: int, temperature: float, reads: str = "field") -> dict[str, Any]:
    """The block of a member whose weights are in `folder`."""
    sha256 = checkpoints.sha256(folder / member_file(number))
    return {"reads": reads, "temperature": temperature, "sha256": sha256}


@pytest.fixture
def single(tmp_path: Path) -> list[Path]:
    """Three checkpoints of one network each."""
    return [synthetic_checkpoints.write(tmp_path / str(seed), "breastmnist", seed=seed) for seed in range(3)]


@pytest.fixture
def combined(single: list[Path], tmp_path: Path) -> Path:
    """The first checkpoint, with the networks of the others as members."""
    folder = tmp_path / "combined"
    shutil.copytree(single[0], folder)
    for number, other in enumerate(single[1:], 1):
        shutil.copyfile(other / "model.safetensors", folder / member_file(number))
    blocks = [member(folder, number, temperature) for number, temperature in enumerate(TEMPERATURES, 1)]
    edit(folder / "config.json", lambda config: config["vigil"].update(members=blocks))
    own = [block["sha256"] for block in blocks]
    edit(folder / "evaluation.json", lambda figures: figures.update(members_sha256=own))
    return folder


def predictor(folder: Path) -> Predictor:
    return Predictor(checkpoints.load("breastmnist", folder))


def test_the_revision_names_every_network(combined: Path, single: list[Path]) -> None:
    first = checkpoints.load("breastmnist", combined).revision
    assert first != checkpoints.load("breastmnist", single[0]).revision
    (combined / "evaluation.json").unlink()  # it belongs to the member that is replaced
    shutil.copyfile(combined / member_file(1), combined / member_file(2))
    edit(combined / "config.json", lambda config: config["vigil"]["members"][1].update(member(combined, 2, 1.0)))
    assert checkpoints.load("breastmnist", combined).revision != first


def test_the_mean_of_the_logits_decides(combined: Path, single: list[Path]) -> None:
    both = predictor(combined)
    alone = [predictor(folder).predict(png(4)) for folder in single]
    scaled = [np.array(one.logits) / t for one, t in zip(alone, (1, *TEMPERATURES), strict=True)]
    prediction = both.predict(png(4), "Grad-CAM")
    np.testing.assert_allclose(prediction.logits, np.mean(scaled, axis=0), atol=1e-6)
    temperature = both.checkpoint.config.vigil.temperature
    (expected,) = calibrated(np.mean(scaled, axis=0)[None], temperature)
    np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-6)
    each = calibrated(np.array(scaled), temperature)[:, 0]  # BreastMNIST's class 0 is malignant
    np.testing.assert_allclose(prediction.members, each, atol=1e-6)
    assert len(set(prediction.members)) == 3
    # The heat map is the first network's, for the class that all networks together find most probable.
    own = predictor(single[0]).predict(png(4), "Grad-CAM", both.task.codes[prediction.top]).heat_map
    assert prediction.heat_map is not None
    assert own is not None
    np.testing.assert_array_equal(prediction.heat_map.values, own.values)


def test_a_batch_gives_the_same_answers(combined: Path) -> None:
    both = predictor(combined)
    many = list(both.predict_many([png(seed) for seed in range(7)], batch_size=3))
    for seed, one in enumerate(many):
        assert isinstance(one, Prediction)
        alone = both.predict(png(seed))
        np.testing.assert_allclose(one.logits, alone.logits, atol=1e-5)
        np.testing.assert_allclose(one.members, alone.members, atol=1e-6)


def test_tiles_are_scored_by_all_networks(combined: Path) -> None:
    both, image = predictor(combined), photograph(5)
    scores, _ = both.score_tiles(both.tile_pixels([image]), all_views=True)
    whole = both.predict(Picture(image, ()), "none")
    assert scores[0] == pytest.approx(whole.p_malignant, abs=1e-3), "8-bit pixels are rounded"


def test_one_network_has_no_members(single: list[Path]) -> None:
    assert predictor(single[0]).predict(png(1)).members == ()


class Finder:
    """Finds the same lesion in every image."""

    def find(self, image: Image.Image) -> Box:
        assert image.width > LESION[2]
        return LESION


def test_each_network_reads_its_own_part(tmp_path: Path) -> None:
    first, second = (
        checkpoints.load("ultrasound", synthetic_checkpoints.write(tmp_path / str(seed), "ultrasound", seed=seed))
        for seed in range(2)
    )
    finder = cast(LesionFinder, Finder())
    image = photograph(6)

    def logits(checkpoint: Checkpoint) -> np.ndarray:
        return np.array(Predictor(checkpoint).predict(Picture(image, ())).logits)

    on_lesion, on_field = logits(replace(first, finder=finder)), logits(second)
    second_on_lesion = logits(replace(second, finder=finder))
    for part, expected in ((None, on_field), (finder, second_on_lesion)):
        both = replace(first, finder=finder, members=(Member(second.network, part, 2.0),))
        prediction = Predictor(both).predict(Picture(image, ()))
        np.testing.assert_allclose(prediction.logits, (on_lesion + expected / 2) / 2, atol=1e-5)
        assert prediction.region == "lesion"
    assert not np.allclose(on_field, second_on_lesion, atol=0.01), "the two parts would be told apart"


def wrong_file(folder: Path) -> None:
    shutil.copyfile(folder / "model.safetensors", folder / member_file(1))


def damaged(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "config.json", lambda config: change(config["vigil"]))


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "another file": (wrong_file, r"member-1\.safetensors is not the file"),
    "another evaluation": (
        lambda folder: edit(folder / "evaluation.json", lambda figures: figures.update(members_sha256=[])),
        "other members",
    ),
    "no file": (lambda folder: (folder / member_file(2)).unlink(), r"member-2\.safetensors is missing"),
    "no lesion finder": (damaged(lambda v: v["members"][0].update(reads="lesion")), "no lesion finder"),
    "another part": (damaged(lambda v: v["members"][0].update(reads="../x")), r"vigil\.members\.0\.reads"),
    "no temperature": (damaged(lambda v: v["members"][0].update(temperature=0)), r"vigil\.members\.0\.temperature"),
    "too many": (damaged(lambda v: v.update(members=MOST_MEMBERS * v["members"])), r"vigil\.members"),
    "no list": (damaged(lambda v: v.update(members="member")), r"vigil\.members"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_members_that_do_not_verify(fault: str, combined: Path) -> None:
    spoil, sentence = FAULTS[fault]
    spoil(combined)
    with pytest.raises(CheckpointError, match=sentence):
        checkpoints.load("breastmnist", combined)


def test_networks_of_one_part_are_exported_as_one(combined: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export.main(["breastmnist", "--out", str(out), "--weights", str(combined)]) == 0
    session = onnxruntime.InferenceSession(out / "model.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    (probabilities,) = session.run(None, {"pixels": pixels[None, :, :, None]})
    expected = predictor(combined).predict(Picture(Image.fromarray(pixels).convert("RGB"), ())).probabilities
    np.testing.assert_allclose(probabilities[0], expected, atol=1e-4)


def test_networks_of_different_parts_are_not_exported_as_one(combined: Path) -> None:
    checkpoint = checkpoints.load("breastmnist", combined)
    with pytest.raises(CheckpointError, match="reads two parts"):
        standalone.metadata(replace(checkpoint, finder=cast(LesionFinder, object())))
