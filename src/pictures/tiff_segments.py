"""Checks of a compressed segment (strip or tile) of a TIFF before it is decoded: its own size, and its end.

JPEG, JPEG 2000, WebP and LERC data begin with a width and height of their own. Their decoders allocate memory for that
size, whatever size the TIFF states. So it is compared with the segment's size. The decoders of JPEG and JPEG 2000 fill
in what is missing without an error, so these are checked as whole files are.
"""

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from tifffile import COMPRESSION, TiffPage

from src.pictures import jpeg, jpeg2000, webp
from src.pictures.picture import ImageRefused
from src.pictures.stated_size import Stated, of_jpeg, of_jpeg2000

BLOCK: Final = 16
"""An encoder may pad a segment to whole blocks. The largest blocks of JPEG and WebP have this side in pixels."""
CHANNELS: Final = 4
"""The number of channels that a segment may have even if the page has fewer."""
LARGER = "The TIFF is damaged: one of its parts states a larger size than the page has room for."


def _of_webp(data: bytes) -> Iterator[Stated]:
    width, height = webp.canvas(data)
    yield Stated(height, width, CHANNELS)


def _of_lerc(data: bytes) -> Iterator[Stated]:
    """One size for all bands together. Each band is a blob (https://github.com/Esri/lerc, Lerc2.h)."""
    bands = start = 0
    largest = Stated(0, 0, 0)
    while data[start : start + 6] == b"Lerc2 ":
        version = struct.unpack_from("<i", data, start + 6)[0]
        fields = start + (14 if version >= 3 else 10)  # a checksum follows the version
        height, width = struct.unpack_from("<2i", data, fields)
        values = struct.unpack_from("<i", data, fields + 8)[0] if version >= 4 else 1
        size = struct.unpack_from("<i", data, fields + (20 if version >= 4 else 16))[0]
        bands += values
        largest = Stated(max(largest.height, height), max(largest.width, width), bands)
        if min(height, width, values) < 1 or size < 1:
            raise ValueError("a blob states an impossible size")
        start += size
    if not bands:
        raise ValueError("no LERC data")
    yield largest


STATED: Final[Mapping[int, Callable[[bytes], Iterator[Stated]]]] = {
    COMPRESSION.JPEG: of_jpeg,
    COMPRESSION.JPEG2000: of_jpeg2000,
    COMPRESSION.APERIO_JP2000_YCBC: of_jpeg2000,
    COMPRESSION.APERIO_JP2000_RGB: of_jpeg2000,
    COMPRESSION.WEBP: _of_webp,
    COMPRESSION.LERC: _of_lerc,
}
"""The compression methods whose data state a size -> the sizes in a segment's data."""


def check_stated_size(page: TiffPage, index: int, data: bytes) -> None:
    """Raise ImageRefused if the data of the segment `index` of the page state a size larger than the segment.

    Malformed data raise one of the errors of src/pictures/decoder_errors.py.
    """
    stated = STATED.get(page.compression)
    if stated is None:
        return
    _, _, (_, rows, columns, samples) = page.decode(None, index)
    height, width = (math.ceil(side / BLOCK) * BLOCK for side in (rows, columns))
    for size in stated(data):
        if size.height > height or size.width > width or size.channels > max(samples, CHANNELS):
            raise ImageRefused(LARGER)


def check_complete(page: TiffPage, data: bytes) -> None:
    """Raise an error of src/pictures/decoder_errors.py if a segment's JPEG or JPEG 2000 data end early."""
    if page.compression == COMPRESSION.JPEG:
        tables = page.jpegtables
        # A file's own tables stand in a JPEG without an image: its end marker and the segment's start marker go.
        jpeg.check_stream(tables[:-2] + data[2:] if tables else (page.jpegheader or b"") + data)
    elif STATED.get(page.compression) is of_jpeg2000:
        jpeg2000.check_complete(data)
