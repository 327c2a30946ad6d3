"""Formats of phones and archives: read with the right values and orientation, or refused by name."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from src.pictures import jpeg, jpeg2000, reasons, webp
from src.pictures.pillow_frame import FIRST_ONLY
from tests.support.orientation import as_stored
from tests.unit.pictures.test_colour import DISPLAY_P3, in_space
from tests.unit.pictures.test_decode import encoded, photo, pixels, read, refusal


def heic(image: Image.Image, **options: object) -> bytes:
    stream = BytesIO()
    pillow_heif.encode(image.mode, image.size, image.tobytes(), stream, quality=95, **options)
    return stream.getvalue()


NEWER: dict[str, Callable[[Image.Image], bytes]] = {
    "HEIC": heic,
    "AVIF": lambda image: encoded(image, "AVIF", quality=95),
    "JPEG 2000": lambda image: encoded(image, "JPEG2000"),
    "JPEG 2000 codestream": lambda image: encoded(image, "JPEG2000", no_jp2=True),
}


@pytest.mark.parametrize("name", NEWER)
def test_newer_formats_are_read_whole_or_refused(name: str) -> None:
    data = NEWER[name](photo(200, 150))
    picture = read(data)
    assert picture.notes == ()
    assert np.abs(pixels(picture) - np.asarray(photo(200, 150)).astype(int)).mean() < 4
    for share in (0.3, 0.5, 0.9):
        assert refusal(data[: int(share * len(data))]) == reasons.DAMAGED


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_and_avif_are_turned_upright(orientation: int) -> None:
    image, exif = as_stored(photo(), orientation)
    turned = heic(image, exif=exif.tobytes())
    for data in (turned, encoded(image, "AVIF", quality=95, exif=exif)):
        assert np.abs(pixels(read(data)) - np.asarray(photo()).astype(int)).mean() < 4


def test_a_heic_in_display_p3_by_code_points_is_converted() -> None:
    image = in_space(photo(), DISPLAY_P3)
    data = heic(image, color_primaries=12, transfer_characteristics=13)
    picture = read(data)
    assert picture.notes != ()
    assert np.abs(pixels(picture) - np.asarray(photo()).astype(int)).mean() < 4
    assert refusal(heic(photo(), color_primaries=9, transfer_characteristics=16)) == reasons.HIGH_DYNAMIC_RANGE


def test_a_heic_of_several_images_gives_its_primary_one() -> None:
    file = pillow_heif.HeifFile()
    for image in (photo().rotate(180), photo()):
        file.add_from_pillow(image)
    stream = BytesIO()
    file.save(stream, quality=95, primary_index=1)
    picture = read(stream.getvalue())
    assert picture.notes == (FIRST_ONLY,)
    assert np.abs(pixels(picture) - np.asarray(photo()).astype(int)).mean() < 4


def test_more_pixels_than_are_read_come_at_half_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "MAX_PIXELS", 100 * 80)
    for progressive in (False, True):
        data = encoded(photo(201, 151), "JPEG", progressive=progressive)
        picture = read(data)
        assert picture.image.size == (101, 76)
        assert "half its width" in picture.notes[0]
        assert np.abs(pixels(picture) - np.asarray(photo(101, 76)).astype(int)).mean() < 4


def test_a_phone_photo_of_48_megapixels_is_read() -> None:
    picture = read(encoded(Image.new("RGB", (8064, 6048), (90, 60, 30)), "JPEG"))
    assert picture.image.size == (4032, 3024)
    assert np.abs(np.asarray(picture.image.getpixel((2000, 1500))) - (90, 60, 30)).max() <= 2


def test_jpegs_that_are_not_read_are_refused_by_their_kind() -> None:
    values = np.asarray(photo().convert("L"))
    deep = imagecodecs.jpeg_encode(values.astype(np.uint16) * 16, bitspersample=12)
    assert "12 bits" in refusal(deep)
    for lossless in (imagecodecs.ljpeg_encode(values), imagecodecs.jpegls_encode(values)):
        assert "lossless JPEG" in refusal(lossless)


def test_a_jpeg_2000_whose_parts_disagree_on_its_size_is_refused() -> None:
    data = encoded(photo(), "JPEG2000")
    at = data.index(jpeg2000.CODESTREAM) + 8
    for width in (79, 40_000):
        assert "." in refusal(data[:at] + width.to_bytes(4) + data[at + 4 :])


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}])
def test_the_size_of_a_webp_is_checked_before_pillow_opens_it(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(encoded(photo(), "WEBP", **options))
    assert webp.canvas(bytes(data)) == photo().size
    monkeypatch.setattr(Image, "open", None)
    at = {b"VP8 ": 26, b"VP8L": 21, b"VP8X": 24}[bytes(data[12:16])]
    data[at : at + 4] = b"\xff" * 4
    assert "pixels" in refusal(bytes(data))


def test_a_jpeg_2000_is_measured_by_the_codestream_that_is_decoded() -> None:
    data = encoded(photo(), "JPEG2000")
    start = data.index(jpeg2000.CODESTREAM)
    other = bytearray(data[start : start + 60])
    other[8:16] = (7).to_bytes(4) * 2
    box = (8 + len(other)).to_bytes(4) + b"free" + other
    changed = data[: start - 8] + box + data[start - 8 :]
    assert jpeg2000.sizes(changed) == jpeg2000.sizes(data)
    assert np.array_equal(pixels(read(changed)), pixels(read(data)))
