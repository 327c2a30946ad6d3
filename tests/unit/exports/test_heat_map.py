"""src/exports/heat_map.py: colours that any eye can read, frames, and the layers that the page lays over each other."""

import numpy as np
import pytest
from PIL import Image

from src.exports import heat_map
from src.models.prediction import HeatMap
from src.tasks import TASKS

# What each kind of colour blindness leaves of linear RGB (Machado, Oliveira & Fernandes 2009, severity 1).
SEEN_WITH: dict[str, list[list[float]]] = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lightness(colours: np.ndarray) -> np.ndarray:
    """CIE L* (0..100) of linear RGB (N, 3)."""
    luminance = colours.clip(0, 1) @ [0.2126, 0.7152, 0.0722]
    return np.where(luminance > 216 / 24389, 116 * np.cbrt(luminance) - 16, luminance * 24389 / 27)


@pytest.mark.parametrize("eyes", SEEN_WITH)
def test_stronger_is_lighter_to_every_eye(eyes: str) -> None:
    colours = np.frombuffer(heat_map.palette(), dtype=np.uint8).reshape(256, 3) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    steps = np.diff(lightness(linear @ np.transpose(SEEN_WITH[eyes])))
    # 8 bits a colour leave steps of up to a quarter; every eighth of the scale is clearly lighter than the one before.
    assert steps.min() > -0.25
    assert np.add.reduceat(steps[:248], np.arange(0, 248, 31)).min() > 4
    assert steps.sum() > 60


def heat(values: np.ndarray, box: tuple[int, int, int, int]) -> HeatMap:
    return HeatMap("Grad-CAM", "metastatic", values.astype(np.float32), box)


def test_the_part_that_makes_the_label_is_framed_on_a_histology_tile_alone() -> None:
    assert [name for name, task in TASKS.items() if task.label_box] == ["histopathology"]
    label = TASKS["histopathology"].label_box
    tile, nothing = Image.new("RGB", (96, 96), (200, 120, 160)), heat(np.zeros((4, 4)), (0, 0, 96, 96))
    drawn = np.asarray(heat_map.draw(tile, nothing, (0, 0, 96, 96), label))
    framed = (drawn == 255).all(axis=2)
    rows, columns = np.nonzero(framed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (32, 63, 32, 63), "the central 32×32 of 96"
    assert framed[32, 32:64].all()
    assert not framed[34:62, 34:62].any()
    without = np.asarray(heat_map.draw(tile, nothing, (0, 0, 96, 96)))
    assert (without == np.asarray(tile)).all()


def test_layers_laid_over_each_other_are_the_drawing() -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    hot = heat(rng.random((64, 64)), (0, 0, 64, 64))
    label = (0.25, 0.25, 0.75, 0.75)
    found = heat_map.layers(picture, hot, (0, 0, 64, 64), label)
    assert (found.image.mode, found.colours.mode, found.label) == ("RGB", "RGBA", label)
    assert found.box == found.seen == (0, 0, 1, 1)
    assert (np.asarray(found.image) == np.asarray(picture)).all(), "the picture itself is plain"
    faded = found.colours.copy()
    faded.putalpha(found.colours.getchannel("A").point(lambda value: round(value * heat_map.OPACITY)))
    laid = Image.alpha_composite(found.image.convert("RGBA"), faded).convert("RGB")
    drawn = heat_map.draw(picture, hot, (0, 0, 64, 64))
    assert np.abs(np.asarray(laid).astype(int) - np.asarray(drawn).astype(int)).max() <= 2
