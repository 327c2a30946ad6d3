"""A decoded frame in any mode -> 8-bit RGB.

Colour profiles (ICC) are not applied: the public datasets were decoded without them, and the models learned from that.
"""

from PIL import Image

from src.pictures import depth


def to_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """8-bit RGB of any mode that the formats have. Adds a sentence to `notes` where colours changed.

    Raises ImageRefused where the values are no brightnesses.
    """
    if image.mode in depth.DEEP_MODES:
        return depth.to_8_bits(image, notes)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() == (255, 255):
            return rgba.convert("RGB")
        # Black, as around an ultrasound field and in a dermatoscope's corners; white would add light that never was.
        notes.append("Transparent parts were filled with black.")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba).convert("RGB")
    if image.mode == "CMYK":
        notes.append("Converted from print colours (CMYK) to RGB; colours may differ slightly.")
    return image.convert("RGB")
