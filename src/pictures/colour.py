"""A decoded frame in any mode of 8 bits -> RGB in sRGB, without transparency."""

from typing import Literal

from PIL import Image

from src.pictures import profiles

Background = Literal["black", "white"]
"""The colour that transparent parts are filled with."""

GREY_MODES = ("1", "L", "LA")


def to_rgb(frame: Image.Image, background: Background, notes: list[str]) -> Image.Image:
    """A frame in any mode of the formats as 8-bit RGB. Adds a sentence to `notes` if colours changed.

    Raises ImageRefused for high dynamic range.
    """
    alpha = _alpha(frame, notes)
    pixels = frame if frame.mode == "CMYK" else frame.convert("L" if frame.mode in GREY_MODES else "RGB")
    rgb = profiles.to_srgb(pixels, frame, notes)
    if rgb is None:
        if frame.mode == "CMYK":
            notes.append("Converted from print colours (CMYK) to RGB; colours may differ slightly.")
        rgb = pixels.convert("RGB")
    if alpha is None:
        return rgb
    notes.append(f"Transparent parts were filled with {background}.")
    return Image.composite(rgb, Image.new("RGB", rgb.size, background), alpha)


def _alpha(frame: Image.Image, notes: list[str]) -> Image.Image | None:
    """The transparency, mode L. None if nothing is transparent, or everything, as in a broken export."""
    if not frame.has_transparency_data:
        return None
    alpha = frame.convert("RGBA").getchannel("A")
    if alpha.getextrema() == (0, 0):
        notes.append("Its transparency hides the whole image, so it was ignored.")
        return None
    return None if alpha.getextrema() == (255, 255) else alpha
