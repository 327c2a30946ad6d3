"""Colours become sRGB from any colour space, and transparent parts get the task's background."""

import struct
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

from src.pictures import colour, profiles
from src.pictures.picture import ImageRefused
from src.pictures.profiles import CONVERTED, D65, IGNORED, PRIMARIES
from tests.support import print_profile
from tests.unit.pictures.test_decode import encoded, photo, pixels, png, read

ADOBE_RGB = imagecodecs.cms_profile(
    "rgb", whitepoint=D65, primaries=(0.64, 0.33, 0.21, 0.71, 0.15, 0.06), gamma=563 / 256
)
DISPLAY_P3 = imagecodecs.cms_profile(
    "rgb", whitepoint=D65, primaries=PRIMARIES[12], transferfunction=profiles.srgb_curve()
)
GREY_18 = imagecodecs.cms_profile("gray", whitepoint=D65, gamma=1.8)
WIDE = {"Display P3": DISPLAY_P3, "Adobe RGB": ADOBE_RGB}


def in_space(picture: Image.Image, profile: bytes) -> Image.Image:
    """The same colours as values of another space, as a photographer's software stores them."""
    mode = "L" if picture.mode == "L" else "RGB"
    converted = ImageCms.profileToProfile(
        picture.convert("RGB"), ImageCms.createProfile("sRGB"), BytesIO(profile), outputMode=mode
    )
    assert converted is not None
    return converted


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "JPEG2000"])
def test_another_colour_space_gives_the_values_of_the_srgb_twin(name: str, kind: str) -> None:
    stored = in_space(photo(), WIDE[name])
    if kind == "JPEG2000":  # Pillow writes no profile into it, so it goes in by hand
        data = encoded(stored, kind)
        old = struct.pack(">I4sBBBI", 15, b"colr", 1, 0, 0, 16)
        new = struct.pack(">I4sBBB", 11 + len(WIDE[name]), b"colr", 2, 0, 0) + WIDE[name]
        at = data.index(old)
        size = data.index(b"jp2h") - 4
        grown = int.from_bytes(data[size : size + 4]) + len(new) - len(old)
        data = data[:size] + struct.pack(">I", grown) + data[size + 4 : at] + new + data[at + len(old) :]
    else:
        options = {"quality": 95} if kind in ("JPEG", "WEBP", "AVIF") else {}
        data = encoded(stored, kind, icc_profile=WIDE[name], **options)
    picture = read(data)
    twin = np.asarray(photo()).astype(int)
    assert picture.notes == (CONVERTED,)
    assert np.abs(np.asarray(stored).astype(int) - twin).max() > 12
    assert np.abs(pixels(picture) - twin).mean() < 3


def test_deep_colours_are_scaled_and_then_converted() -> None:
    values = np.asarray(in_space(photo(), DISPLAY_P3)).astype(np.uint16) * 16
    data = bytes(imagecodecs.png_encode(values))
    at = 33  # behind IHDR
    picture = read(data[:at] + _chunk(b"cHRM", _numbers(*D65, *PRIMARIES[12])) + data[at:])
    assert np.abs(pixels(picture) - np.asarray(photo()).astype(int)).mean() < 2
    assert len(picture.notes) == 2


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_picture_in_srgb_keeps_every_bit(mode: str) -> None:
    image = photo().convert(mode)
    plain = pixels(read(encoded(image, "PNG")))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey = imagecodecs.cms_profile("gray", whitepoint=D65, transferfunction=profiles.srgb_curve())
    picture = read(encoded(image, "PNG", icc_profile=srgb if mode == "RGB" else grey))
    assert picture.notes == ()
    assert np.array_equal(pixels(picture), plain)


def _numbers(*values: float) -> bytes:
    return b"".join(struct.pack(">I", round(value * 100_000)) for value in values)


def _chunk(kind: bytes, body: bytes) -> bytes:
    made = png(28, 28, (kind, body))
    at = made.index(kind) - 4
    return made[at : at + 12 + len(body)]


def with_chunks(image: Image.Image, *chunks: tuple[bytes, bytes]) -> bytes:
    data = encoded(image, "PNG")
    return data[:33] + b"".join(_chunk(*chunk) for chunk in chunks) + data[33:]


P3_CHUNK = (b"cHRM", _numbers(*D65, *PRIMARIES[12]))
SRGB_CHUNK = (b"cHRM", _numbers(*D65, *PRIMARIES[1]))


def test_png_chunks_tell_the_colour_space() -> None:
    twin = np.asarray(photo()).astype(int)
    for chunk in (P3_CHUNK, (b"cICP", bytes((12, 13, 0, 1)))):
        picture = read(with_chunks(in_space(photo(), DISPLAY_P3), chunk))
        assert picture.notes == (CONVERTED,)
        assert np.abs(pixels(picture) - twin).max() <= 4
    for chunks in (
        [(b"gAMA", _numbers(0.45455))],
        [(b"gAMA", _numbers(0.45455)), SRGB_CHUNK],
        [(b"sRGB", b"\0"), P3_CHUNK],  # sRGB overrules the others
        [(b"cICP", bytes((1, 13, 0, 1))), P3_CHUNK],
    ):
        picture = read(with_chunks(photo(), *chunks))
        assert picture.notes == ()
        assert np.array_equal(pixels(picture), twin)
    linear = Image.fromarray(np.rint(255 * (np.arange(64) / 63) ** 2.2).astype(np.uint8)[None].repeat(40, 0))
    picture = read(with_chunks(linear, (b"gAMA", _numbers(1.0))))
    assert np.abs(pixels(picture)[0, 16:, 0] - 255 * np.arange(16, 64) / 63).max() <= 6


def test_high_dynamic_range_is_refused_by_name() -> None:
    with pytest.raises(ImageRefused, match="HDR"):
        read(with_chunks(photo(), (b"cICP", bytes((9, 16, 0, 1)))))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_print_colours_are_converted_by_their_profile(kind: str) -> None:
    inks, twin = print_profile.separated(photo()), np.asarray(photo()).astype(int)
    options = {"quality": 95} if kind == "JPEG" else {}
    picture = read(encoded(inks, kind, icc_profile=print_profile.profile(), **options))
    assert picture.notes == (CONVERTED,)
    assert np.abs(pixels(picture) - twin).mean() < 2
    without = read(encoded(inks, kind, **options))
    assert np.abs(pixels(without) - twin).mean() > 10
    assert "CMYK" in without.notes[0]


def test_a_profile_that_cannot_be_unpacked_is_reported() -> None:
    packed = encoded(photo(), "JPEG", icc_profile=DISPLAY_P3)
    at = packed.index(b"ICC_PROFILE\0") + len(b"ICC_PROFILE\0")
    missing = packed[: at + 1] + b"\2" + packed[at + 2 :]  # the first of two parts
    for data in (with_chunks(photo(), (b"iCCP", b"x\0\0no profile")), missing):
        picture = read(data)
        assert picture.notes == (IGNORED,)
        assert np.abs(pixels(picture) - np.asarray(photo()).astype(int)).mean() < 4


def test_lab_names_its_colours_by_itself() -> None:
    lab = ImageCms.profileToProfile(
        photo(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    picture = read(encoded(lab, "TIFF", icc_profile=lab.info["icc_profile"]))
    assert picture.notes == ()
    assert np.abs(pixels(picture) - np.asarray(photo()).astype(int)).mean() < 2


def test_a_grey_profile_is_applied_to_grey() -> None:
    ramp = Image.fromarray(np.arange(0, 256, 4, dtype=np.uint8)[None].repeat(40, 0))
    picture = read(encoded(ramp, "PNG", icc_profile=GREY_18))
    light = (np.arange(0, 256, 4) / 255) ** 1.8
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(pixels(picture)[0, :, 0] - expected).max() <= 3
    assert picture.notes == (CONVERTED,)


@pytest.mark.parametrize(
    "profile", [b"no profile", ADOBE_RGB[:200], b"\0" * 4000, GREY_18, ADOBE_RGB + bytes(profiles.MAX_PROFILE_BYTES)]
)
def test_a_profile_that_cannot_be_used_is_ignored_and_said_so(profile: bytes) -> None:
    data = encoded(photo(), "TIFF", icc_profile=profile)
    picture = read(data)
    assert picture.notes == (IGNORED,)
    assert np.array_equal(pixels(picture), np.asarray(photo()))


@pytest.mark.parametrize("background", ["black", "white"])
def test_transparent_parts_take_the_background(background: colour.Background) -> None:
    rgba = Image.new("RGBA", (40, 40), (200, 100, 50, 255))
    rgba.paste((0, 0, 0, 0), (0, 0, 20, 40))
    for kind in ("PNG", "WEBP", "TIFF", "AVIF", "JPEG2000"):
        options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "AVIF" else {}
        picture = read(encoded(rgba, kind, **options), background)
        assert np.abs(pixels(picture)[20, 5] - (255 if background == "white" else 0)).max() <= 3
        assert np.abs(pixels(picture)[20, 35] - (200, 100, 50)).max() <= 3
        assert picture.notes == (f"Transparent parts were filled with {background}.",)


def test_an_alpha_that_hides_all_is_ignored() -> None:
    rgba = photo().convert("RGBA")
    rgba.putalpha(0)
    picture = read(encoded(rgba, "PNG"), "white")
    assert np.array_equal(pixels(picture), np.asarray(photo()))
    assert "ignored" in picture.notes[0]
