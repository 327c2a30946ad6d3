"""src/pictures/depth.py: a deep picture is as bright as its 8-bit copy, in every mode and format."""

from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.unit.pictures.test_decode import photo, pixels, read, refusal

TWIN = np.asarray(photo(80, 60))
GREY = TWIN[..., 0]
ALPHA = np.full(GREY.shape, 65535, np.uint16)
MODES = {
    "grey": GREY,
    "grey and alpha": np.stack((GREY, ALPHA), axis=2, dtype=np.uint16),
    "RGB": TWIN,
    "RGB and alpha": np.dstack((TWIN, ALPHA)),
}


def deep(mode: str, bits: int) -> np.ndarray:
    """The twin of 8 bits as `bits` in 16; alpha at full scale."""
    values = MODES[mode].astype(np.uint16)
    shown = values if "alpha" not in mode else values[..., :-1]
    shown *= np.uint16(2 ** (bits - 8))
    return values


def tiff(values: np.ndarray, **options: Any) -> bytes:
    stream = BytesIO()
    tifffile.imwrite(stream, values, metadata=None, **options)
    return stream.getvalue()


def as_tiff(values: np.ndarray, mode: str) -> bytes:
    extra = {"extrasamples": ["unassalpha"]} if "alpha" in mode else {}
    return tiff(values, photometric="rgb" if "RGB" in mode else "minisblack", planarconfig="contig", **extra)


def assert_twin(data: bytes, mode: str = "RGB", within: int = 1) -> tuple[str, ...]:
    picture = read(data)
    expected = TWIN if "RGB" in mode else GREY[..., None].repeat(3, axis=2)
    assert np.abs(pixels(picture) - expected).max() <= within
    return picture.notes


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("mode", MODES)
def test_one_rule_for_every_mode(mode: str, bits: int) -> None:
    values = deep(mode, bits)
    for data in (bytes(imagecodecs.png_encode(values)), as_tiff(values, mode)):
        (note,) = assert_twin(data, mode)
        assert f"{bits} bits" in note


@pytest.mark.parametrize("bits", [12, 16])
def test_deep_jpeg_2000(bits: int) -> None:
    for mode in ("grey", "RGB"):
        data = bytes(imagecodecs.jpeg2k_encode(deep(mode, bits), level=0))
        (note,) = assert_twin(data, mode)
        assert f"{bits} bits" in note


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("mode", ["grey", "RGB"])
def test_floats_from_0_to_1(mode: str, dtype: str) -> None:
    (note,) = assert_twin(as_tiff((MODES[mode] / 255).astype(dtype), mode), mode)
    assert "0 to 1" in note


def test_other_floats_are_refused_with_their_range() -> None:
    assert "from -0.6863 to 0.8824" in refusal(as_tiff((TWIN / 127.5 - 1).astype(np.float32), "RGB"))
    assert "from 20.5 to 120.5" in refusal(as_tiff((GREY / 1.8 - 12.8333333).clip(20.5, 120.5), "grey"))


@pytest.mark.parametrize("mode", ["grey", "RGB"])
def test_a_label_burnt_in_at_full_scale_does_not_set_the_scale(mode: str) -> None:
    values = deep(mode, 12)
    values[2:8, 3:30] = 65535  # 3% of the picture
    values[8, 3] = 30_000  # and the soft edge of a letter
    picture = read(as_tiff(values, mode))
    assert "12 bits" in picture.notes[0]
    assert "cut to white" in picture.notes[0]
    assert np.abs(pixels(picture)[10:] - (TWIN if mode == "RGB" else GREY[..., None])[10:]).max() <= 1
    assert pixels(picture)[3, 4].tolist() == [255, 255, 255]


def test_a_picture_that_is_mostly_at_its_highest_value_keeps_its_scale() -> None:
    slide = np.full((60, 80, 3), 65535, np.uint16)  # an empty slide with a spot of tissue
    slide[20:30, 20:30] = 9000
    assert pixels(read(as_tiff(slide, "RGB")))[25, 25].tolist() == [35, 35, 35]


def test_8_bits_are_never_scaled() -> None:
    dark = Image.fromarray(TWIN // 8)
    stream = BytesIO()
    dark.save(stream, "PNG")
    assert np.array_equal(pixels(read(stream.getvalue())), TWIN // 8)
