"""Images as a camera stores them: turned, with the EXIF orientation that puts them upright again."""

from PIL import ExifTags, Image

from src.pictures.orientation import TURNS

INVERSE = {6: 8, 8: 6}
"""The orientations that are not their own inverse."""


def as_stored(image: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    """`image` as it is stored with this EXIF orientation, 1 to 8, and its EXIF block."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    inverse = INVERSE.get(orientation, orientation)
    return (image.transpose(TURNS[inverse]) if inverse > 1 else image), exif
