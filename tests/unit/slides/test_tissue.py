"""Tissue on drawn overviews: pale and dark tissue, folds, blood, pen marks, marks on the glass, dust, black frames."""

import cv2
import numpy as np
import pytest

from examples.phantoms.slide import DrawnSlide
from src.slides import tissue
from tests.support import slide_files

MPP = 8.0
GLASS = (243, 240, 243)


def overview(seed: int = 0, glass: tuple[int, int, int] = GLASS) -> np.ndarray:
    """Glass of 4 × 5 mm with the noise of a scanner."""
    noise = np.random.default_rng(seed).normal(0, 1.5, (500, 625, 3))
    return (np.array(glass) + noise).clip(0, 255).astype(np.uint8)


def add(pixels: np.ndarray, colour: tuple[int, int, int], centre: tuple[int, int], radius: int) -> np.ndarray:
    """A disc of tissue with some texture; returns where it is."""
    disc = np.zeros(pixels.shape[:2], np.uint8)
    cv2.circle(disc, centre, radius, 1, -1)
    texture = np.random.default_rng(1).normal(0, 4, pixels.shape)
    pixels[disc > 0] = (np.array(colour) + texture).clip(0, 255).astype(np.uint8)[disc > 0]
    return disc > 0


def found_share(pixels: np.ndarray, where: np.ndarray) -> tuple[float, float]:
    """The share of `where` that is found, and the share of the rest that is found."""
    mask = tissue.mask(pixels, MPP)
    return float(mask[where].mean()), float(mask[~where].mean())


TISSUES = {
    "usual": (170, 100, 160),
    "dark": (70, 30, 90),
    "pale pink": (238, 222, 232),
    "pale blue": (222, 224, 238),
    "eosin only": (235, 160, 190),
    "fat": (236, 226, 234),
}


@pytest.mark.parametrize("colour", TISSUES.values(), ids=TISSUES)
@pytest.mark.parametrize("glass", [GLASS, (250, 240, 225), (225, 235, 245), (210, 210, 212)])
def test_tissue_is_found_on_any_glass(colour: tuple[int, int, int], glass: tuple[int, int, int]) -> None:
    # A thin section lets through what the glass lets through.
    seen = tuple(round(value * level / 243) for value, level in zip(colour, glass, strict=True))
    pixels = overview(glass=glass)
    where = add(pixels, (seen[0], seen[1], seen[2]), (300, 250), 90)
    inside, outside = found_share(pixels, where)
    assert inside > 0.99
    assert outside < 0.03


PENS_AND_BLOOD = {
    "blue pen": (20, 60, 200),
    "green pen": (20, 140, 60),
    "red pen": (200, 20, 30),
    "black pen": (25, 25, 28),
    "yellow pen": (240, 230, 120),
    "blood": (150, 10, 20),
    "thin blood": (215, 110, 100),
}


@pytest.mark.parametrize("other", PENS_AND_BLOOD.values(), ids=PENS_AND_BLOOD)
def test_pale_tissue_does_not_vanish_beside_pen_or_blood(other: tuple[int, int, int]) -> None:
    pixels = overview()
    add(pixels, other, (480, 250), 100)
    where = add(pixels, TISSUES["pale pink"], (180, 250), 90)
    assert tissue.mask(pixels, MPP)[where].mean() > 0.99


@pytest.mark.parametrize("other", PENS_AND_BLOOD.values(), ids=PENS_AND_BLOOD)
def test_pen_and_blood_are_read_and_so_is_the_tissue_below(other: tuple[int, int, int]) -> None:
    pixels = overview()
    where = add(pixels, TISSUES["usual"], (180, 250), 90)
    line = np.zeros(pixels.shape[:2], np.uint8)
    cv2.line(line, (60, 200), (560, 320), 1, 9)
    ink = (np.array(other) / 255 * pixels).astype(np.uint8)
    pixels[line > 0] = ink[line > 0]
    inside, outside = found_share(pixels, where | (line > 0))
    assert inside > 0.99
    assert outside < 0.03


@pytest.mark.parametrize("layers", [2, 3, 6])
def test_a_fold_is_read(layers: int) -> None:
    pixels = overview()
    where = add(pixels, TISSUES["usual"], (300, 250), 90)
    fold = np.zeros(pixels.shape[:2], np.uint8)
    cv2.line(fold, (240, 200), (360, 300), 1, 11)
    # Each layer absorbs the same share of the light. Six layers are black.
    folded = (255 * (pixels / 255.0) ** layers).astype(np.uint8)
    pixels[fold > 0] = folded[fold > 0]
    assert found_share(pixels, where)[0] > 0.99


def test_marks_on_the_glass_are_no_tissue() -> None:
    pixels = overview()
    marks = np.zeros(pixels.shape[:2], np.uint8)
    cv2.circle(marks, (500, 120), 40, 1, 2)  # an air bubble
    cv2.line(marks, (30, 0), (40, 499), 1, 3)  # the edge of the cover glass
    pixels[marks > 0] = (150, 150, 152)
    lamp = np.linspace(1, 0.8, pixels.shape[1])[None, :, None]  # it shines less at one side
    pixels = (pixels * lamp).astype(np.uint8)
    where = add(pixels, TISSUES["usual"], (250, 300), 80)
    inside, outside = found_share(pixels, where)
    assert inside > 0.99
    assert outside < 0.03


def test_a_mask_is_the_same_whatever_the_strips(drawn: DrawnSlide, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = slide_files.reduced(drawn.pixels, 32)
    whole = tissue.mask(pixels, MPP)
    monkeypatch.setattr(tissue, "STRIP", 7)
    assert (tissue.mask(pixels, MPP) == whole).all()


def test_empty_glass_has_no_tissue_with_dust_or_a_black_frame() -> None:
    pixels = overview()
    pixels[100:103, 100:103] = (90, 60, 60)  # 24 µm
    assert not tissue.mask(pixels, MPP).any()
    pixels[:20], pixels[-20:], pixels[:, :20] = 0, 0, 5
    assert not tissue.mask(pixels, MPP).any()


def test_a_slide_full_of_tissue_is_found_whole() -> None:
    pixels = overview(glass=(170, 100, 160))
    assert tissue.mask(pixels, MPP).mean() > 0.99


def test_small_pieces_and_holes_are_kept() -> None:
    pixels = overview()
    piece = add(pixels, TISSUES["usual"], (100, 100), 5)  # a needle core's crumb of 80 µm
    node = add(pixels, TISSUES["usual"], (400, 300), 120)
    hole = np.zeros(pixels.shape[:2], np.uint8)
    cv2.circle(hole, (400, 300), 30, 1, -1)
    pixels[hole > 0] = GLASS
    mask = tissue.mask(pixels, MPP)
    assert mask[piece].mean() > 0.9
    assert mask[node & (hole == 0)].mean() > 0.99
    assert mask[hole > 0].mean() < 0.2


def test_the_drawn_node_is_found(drawn: DrawnSlide) -> None:
    factor = 4.0
    pixels = slide_files.reduced(drawn.pixels, 8 * factor)
    mask = tissue.mask(pixels, 0.243 * 8 * factor)
    truth = slide_files.reduced(drawn.tissue[..., None].repeat(3, axis=2).astype(np.uint8) * 255, factor)[..., 0] > 127
    assert mask[truth].mean() > 0.99
    assert mask[~truth].mean() < 0.08
