"""WebP, decoded by Pillow.

The size that the header states is checked first, because Pillow allocates the whole canvas as soon as it opens a file.
"""

import struct
from typing import Final

from PIL import Image

from src.pictures import pillow_frame
from src.pictures.decoder_errors import refused_if_damaged
from src.pictures.size import check_size

SIDE_BITS: Final = 0x3FFF
"""The 14 bits of a side. The two bits above them are a scale for display."""


def first_frame(data: bytes, notes: list[str]) -> Image.Image:
    """The first frame with all pixels decoded. Adds sentences to `notes`; raises ImageRefused."""
    with refused_if_damaged():
        width, height = canvas(data)
    check_size(width, height)
    return pillow_frame.first_frame(data, "WEBP", notes)


def canvas(data: bytes) -> tuple[int, int]:
    """The width and height in pixels. Raises ValueError or struct.error for any other header.

    Source: https://developers.google.com/speed/webp/docs/riff_container and RFC 6386, section 9.1.
    """
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L":
        packed = struct.unpack_from("<I", data, 21)[0]
        width, height = (packed & SIDE_BITS) + 1, (packed >> 14 & SIDE_BITS) + 1
    elif kind == b"VP8 ":
        width, height = (side & SIDE_BITS for side in struct.unpack_from("<HH", data, 26))
    else:
        raise ValueError("not a WebP header")
    return width, height
