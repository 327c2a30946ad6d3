"""EXIF orientation: a picture as stored -> upright."""

from PIL import ExifTags, Image

from src.pictures.decoder_errors import DECODER_ERRORS

# ImageOps.exif_transpose also rewrites the EXIF block, and fails on some blocks of phones. Vigil keeps no EXIF, so it
# only turns the picture.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> the turn that makes the picture upright."""


def upright(rgb: Image.Image, source: Image.Image, notes: list[str]) -> Image.Image:
    """`rgb`, turned by the EXIF orientation of `source`, the frame that it came from.

    Adds a sentence to `notes` if the EXIF block cannot be read.
    """
    try:
        orientation = source.getexif().get(ExifTags.Base.Orientation, 1)
    except DECODER_ERRORS:
        notes.append("Its orientation could not be read; the image is shown as stored.")
        return rgb
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return rgb if turn is None else rgb.transpose(turn)
