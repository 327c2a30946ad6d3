"""The size that a JPEG, JPEG-LS or JPEG 2000 stream states for itself.

TIFF and DICOM hold such streams. Their decoders allocate memory for that size, whatever the file around them says.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from src.pictures import jpeg, jpeg2000


class Stated(NamedTuple):
    """The height and width in pixels, and the number of values per pixel."""

    height: int
    width: int
    channels: int


def of_jpeg(data: bytes) -> Iterator[Stated]:
    """The sizes in the frame headers of a JPEG or JPEG-LS. Malformed data raise one of DECODER_ERRORS."""
    for marker, at, _ in jpeg.segments(data):
        if marker in jpeg.FRAMES:
            height, width, channels = struct.unpack_from(">HHB", data, at + 3)
            yield Stated(height, width, channels)


def of_jpeg2000(data: bytes) -> Iterator[Stated]:
    """The size in the header of a JPEG 2000. Malformed data raise one of DECODER_ERRORS."""
    sizes = jpeg2000.sizes(data)
    yield Stated(sizes.height, sizes.width, sizes.channels)
