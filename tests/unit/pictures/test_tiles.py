"""src/pictures/tiles.py: what a picture of known scale is cut into."""

import numpy as np
import pytest
from PIL import Image

from src.pictures import tiles as module
from src.pictures.picture import ImageRefused
from src.pictures.tiles import MAX_TILES, tiles

SIDE, MPP = 96, 0.97
FIELD = SIDE * MPP


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def cut(width: int, height: int, mpp: float) -> list[module.Tile]:
    return tiles(noise(width, height), mpp, FIELD, SIDE)


def test_a_tile_as_the_networks_learned_it_keeps_every_bit() -> None:
    image = noise(96, 96)
    (only,) = tiles(image, MPP, FIELD, SIDE)
    assert only.image.tobytes() == image.tobytes()
    assert only.box == (0, 0, 96, 96)
    assert only.shown == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("side", "mpp"), [(384, 0.2425), (192, 0.485), (90, 1.0), (100, 0.97), (400, 0.25), (48, 1.94)]
)
def test_about_one_field_is_one_tile_of_the_networks_pixels(side: int, mpp: float) -> None:
    (only,) = cut(side, side, mpp)
    assert only.image.size == (SIDE, SIDE)
    assert only.box == (0, 0, side, side)
    assert only.shown == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("size", "mpp", "columns", "rows"),
    [((192, 192), 0.97, 2, 2), ((1024, 768), 0.25, 3, 2), ((1920, 1080), 0.25, 5, 3), ((130, 96), 0.97, 2, 1)],
)
def test_a_larger_picture_is_covered_by_equal_tiles(size: tuple[int, int], mpp: float, columns: int, rows: int) -> None:
    found = cut(*size, mpp)
    assert len(found) == columns * rows
    covered = np.zeros((size[1], size[0]), dtype=bool)
    for tile in found:
        left, upper, right, lower = tile.box
        covered[upper:lower, left:right] = True
        for length in (right - left, lower - upper):
            assert 0.98 <= length * mpp / FIELD <= 1.11
    assert covered.all()


def test_a_tile_shows_what_lies_in_its_box() -> None:
    image = Image.new("RGB", (192, 96), "white")
    image.paste("black", (96, 0, 192, 96))
    left, right = tiles(image, MPP, FIELD, SIDE)
    assert np.asarray(left.image).min() == 255
    assert np.asarray(right.image).max() == 0


def test_a_picture_of_less_than_a_field_is_continued_by_its_mirror_image() -> None:
    image = noise(48, 96)
    (only,) = tiles(image, MPP, FIELD, SIDE)
    assert only.shown == (0.25, 0, 0.75, 1)
    values = np.asarray(only.image)
    np.testing.assert_array_equal(values[:, 24:72], np.asarray(image))
    np.testing.assert_array_equal(values[:, 23::-1], values[:, 24:48])
    (tiny,) = cut(30, 30, 0.1)
    assert tiny.image.size == (SIDE, SIDE)


def test_more_tiles_than_are_read_are_refused_with_their_number() -> None:
    side = round(6 * 1.1 * FIELD / 0.25) - 1
    assert len(cut(side, side, 0.25)) == MAX_TILES
    with pytest.raises(ImageRefused, match=r"^At 0\.25 µm per pixel the image shows 625 × 625 µm, which is 49 tiles "):
        cut(2500, 2500, 0.25)
