"""BMP, read by Pillow. Run-length encoded files are refused: their rows may end early, and the rest has no colour."""

import struct
from typing import Final

from PIL import Image

from src.pictures import pillow_frame
from src.pictures.decoder_errors import refused_if_damaged
from src.pictures.picture import ImageRefused
from src.pictures.reasons import EXPORT

RUN_LENGTHS: Final = (1, 2)
"""The values of biCompression for run lengths, of 8 and of 4 bits a pixel (Windows, BITMAPINFOHEADER)."""
OLD_HEADER: Final = 12
"""Bytes of a header without biCompression (BITMAPCOREHEADER)."""


def first_frame(data: bytes, notes: list[str]) -> Image.Image:
    """The image in the mode of the file. Raises ImageRefused."""
    with refused_if_damaged():
        (header,) = struct.unpack_from("<I", data, 14)
        run_lengths = header > OLD_HEADER and struct.unpack_from("<I", data, 30)[0] in RUN_LENGTHS
    if run_lengths:
        raise ImageRefused(f"This is a run-length encoded BMP, in which pixels can be missing; {EXPORT}")
    return pillow_frame.first_frame(data, "BMP", notes)
