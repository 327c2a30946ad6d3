"""The colours of a file -> sRGB, in which the models were trained.

A file names its colour space by an ICC profile, by PNG's chunks, or by code points of ITU-T H.273 (PNG, AVIF, HEIC).
Each of them becomes an ICC profile, with which LittleCMS converts the colours. Profiles are untrusted: their size is
limited, and a damaged profile is ignored.
"""

from functools import cache
from io import BytesIO
from typing import Final, Literal, NamedTuple

import imagecodecs
import numpy as np
from PIL import Image, ImageCms

from src.pictures.picture import ImageRefused
from src.pictures.reasons import HIGH_DYNAMIC_RANGE

MAX_PROFILE_BYTES = 4_000_000
"""The largest profiles in use, those of printing presses, have some 3 MB."""
SAME = 2
"""A profile that differs from sRGB by at most this many levels of 255 counts as sRGB. Many sRGB profiles round a little
differently, and a picture in sRGB must not change at all."""
SAME_GAMMA = 0.05
"""PNG: gammas within 5% of each other look the same (libpng's PNG_GAMMA_THRESHOLD), so 1/2.2 counts as sRGB's curve."""

UNUSABLE: Final = (ImageCms.PyCMSError, OSError, ValueError, TypeError)
"""The exceptions that LittleCMS and Pillow raise for a profile that cannot be used."""
DAMAGED: Final = b"damaged"
"""Stands for a profile that cannot be used."""

CONVERTED = "Its colours were converted to sRGB from the colour space that the file states."
IGNORED = "Its colour profile is damaged or does not fit the image and was ignored; colours may be off."

Chromaticities = tuple[float, float, float, float, float, float]
"""x and y of red, green and blue (CIE 1931)."""

SRGB_GAMMA: Final = 1 / 2.2
D65: Final = (0.3127, 0.3290)
PRIMARIES: Final[dict[int, Chromaticities]] = {
    1: (0.640, 0.330, 0.300, 0.600, 0.150, 0.060),  # sRGB
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),  # BT.2020
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # Display P3
}
"""Code point of ColourPrimaries (ITU-T H.273, table 2) -> chromaticities; all with white D65."""
GAMMAS: Final = {4: 1 / 2.2, 5: 1 / 2.8, 8: 1.0}
"""Code point of TransferCharacteristics (table 3) -> gamma. All others of ordinary dynamic range count as sRGB."""
HIGH_RANGE: Final = (16, 18)
"""TransferCharacteristics of high dynamic range: PQ and HLG."""


class CodePoints(NamedTuple):
    """A colour space as numbers of ITU-T H.273; `info["code_points"]` of a frame."""

    primaries: int
    transfer: int


def to_srgb(pixels: Image.Image, source: Image.Image, notes: list[str]) -> Image.Image | None:
    """`pixels` (mode L, RGB or CMYK) converted to sRGB (mode RGB) from the colour space of the frame `source`.

    None if there is nothing to convert: the frame names no colour space, or sRGB, or one that cannot be used. Adds a
    sentence to `notes` if a profile was applied or ignored. Raises ImageRefused for high dynamic range.
    """
    profile = _profile(source, pixels.mode == "L")
    if profile is None:
        return None
    try:
        transform = conversion(profile, pixels.mode)
        if transform is None:
            return None
        converted = ImageCms.applyTransform(pixels, transform)
    except UNUSABLE:
        notes.append(IGNORED)
        return None
    assert converted is not None  # it is None only for a conversion in place
    notes.append(CONVERTED)
    return converted


def conversion(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The conversion of pixels of `mode` (L, RGB or CMYK) from an ICC profile to sRGB; None where it changes nothing.

    Raises one of UNUSABLE for a profile that is damaged or does not fit the mode.
    """
    if len(profile) > MAX_PROFILE_BYTES:
        raise ValueError("too large")
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(BytesIO(profile)),
        _srgb(),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    return None if mode != "CMYK" and _changes_nothing(transform, mode) else transform


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@cache
def _samples(mode: str) -> Image.Image:
    """Colours from all of an RGB cube, or all greys."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.linspace(0, 255, 18).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1)
    return Image.fromarray(cube.reshape(18, -1, 3))


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    samples = _samples(mode)
    converted = ImageCms.applyTransform(samples, transform)
    assert converted is not None
    before, after = (np.asarray(image.convert("RGB"), np.int16) for image in (samples, converted))
    return int(np.abs(after - before).max()) <= SAME


def _profile(source: Image.Image, grey: bool) -> bytes | None:
    """The colour space of a frame as an ICC profile; None for sRGB or if the frame names none.

    The order is that of PNG's standard: cICP, iCCP, sRGB, gAMA with cHRM. Other formats give one of the first two.
    """
    info = source.info
    points, icc = info.get("code_points"), info.get("icc_profile")
    if points is not None and points.transfer in HIGH_RANGE:
        raise ImageRefused(HIGH_DYNAMIC_RANGE)
    if points is not None:
        return _made(PRIMARIES.get(points.primaries), GAMMAS.get(points.transfer), grey)
    if "icc_profile" in info:
        # Pillow gives None for a profile that cannot be unpacked or lacks a part.
        return bytes(icc or DAMAGED)
    if "srgb" in info:
        return None
    white, primaries = D65, None
    numbers = info.get("chromaticity")
    if numbers is not None and len(numbers) == 8:
        white, primaries = numbers[:2], numbers[2:]
    gamma = info.get("gamma")
    if gamma is not None and abs(gamma / SRGB_GAMMA - 1) <= SAME_GAMMA:
        gamma = None
    return _made(primaries, gamma, grey, white)


def _made(
    primaries: Chromaticities | None, gamma: float | None, grey: bool, white: tuple[float, float] = D65
) -> bytes | None:
    """A profile with these chromaticities and this gamma in PNG's notation (1 / 2.2 for a usual display).

    None for an argument means the value of sRGB. If all values are those of sRGB, the result is None.
    """
    near = white == D65 and (primaries is None or np.allclose(primaries, PRIMARIES[1], atol=0.002))
    if gamma is None and (near or grey):
        return None
    kind: Literal["gray", "rgb"] = "gray" if grey else "rgb"
    curve = {"transferfunction": srgb_curve()} if gamma is None else {"gamma": 1 / gamma}
    try:
        return bytes(
            imagecodecs.cms_profile(
                kind, whitepoint=white, primaries=None if grey else primaries or PRIMARIES[1], **curve
            )
        )
    except (ValueError, ArithmeticError, RuntimeError):
        return DAMAGED


@cache
def srgb_curve() -> np.ndarray:
    """The transfer function of sRGB (IEC 61966-2-1): the light of 4,096 values, uint16."""
    value = np.linspace(0, 1, 4096)
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.rint(65535 * light).astype(np.uint16)
