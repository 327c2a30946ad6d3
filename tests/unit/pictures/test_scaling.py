"""Scaling for measurements: nearly Pillow's pixels."""

import numpy as np
import pytest
from PIL import Image

from src.pictures.scaling import scaled


def photo(width: int, height: int) -> Image.Image:
    """A made-up image with structure of several sizes."""
    random = np.random.default_rng(width * height)
    coarse = Image.fromarray(random.integers(0, 256, (9, 7, 3), dtype=np.uint8)).resize((width, height))
    noise = random.integers(-30, 31, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(coarse).astype(int) + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("size", [(224, 224), (64, 64), (300, 225), (700, 31), (600, 450), (1, 1)])
@pytest.mark.parametrize("original", [(600, 450), (97, 96), (1100, 1300)])
def test_the_pixels_are_pillows_within_two_levels(original: tuple[int, int], size: tuple[int, int]) -> None:
    image = photo(*original)
    expected = np.asarray(image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3)).astype(int)
    found = scaled(image, size)
    assert found.dtype == np.uint8
    assert found.shape == (3, size[1], size[0])
    differences = np.abs(found.transpose(1, 2, 0) - expected)
    assert differences.max() <= 2
    assert (differences > 0).sum() < max(4, 0.05 * differences.size)
    assert found.flags.c_contiguous


def test_the_image_keeps_its_pixels() -> None:
    image = photo(60, 40)
    before = image.tobytes()
    scaled(image, (60, 40))[:] = 0
    assert image.tobytes() == before
