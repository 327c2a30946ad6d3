"""TIFFs of one tile, whose compressed data state a size of their own that is not the tile's."""

import struct
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Final

import numpy as np
import tifffile

SIDE: Final = 64
"""The true width and height in pixels."""


def _jpeg(tile: bytearray, side: int) -> None:
    struct.pack_into(">HH", tile, tile.index(b"\xff\xc0") + 5, side, side)


def _jpeg2000(tile: bytearray, side: int) -> None:
    at = tile.index(b"\xff\x4f\xff\x51") + 8
    struct.pack_into(">II", tile, at, side, side)
    struct.pack_into(">II", tile, at + 16, side, side)  # the tiles within the codestream


def _webp(tile: bytearray, side: int) -> None:
    struct.pack_into("<I", tile, tile.index(b"VP8L") + 9, (side - 1) << 14 | (side - 1))


def _lerc(tile: bytearray, side: int) -> None:
    struct.pack_into("<ii", tile, 14, side, side)


KINDS: Final[Mapping[str, tuple[str, Callable[[bytearray, int], None]]]] = {
    "JPEG": ("jpeg", _jpeg),
    "JPEG 2000": ("jpeg2000", _jpeg2000),
    "WebP": ("webp", _webp),
    "LERC": ("lerc", _lerc),
}


def tiff_tile(kind: str, side: int) -> bytes:
    """A TIFF of 64 × 64 pixels, whose only tile (a key of KINDS) states side × side pixels."""
    compression, state = KINDS[kind]
    stream = BytesIO()
    values = np.full((SIDE, SIDE, 3), 120, np.uint8)
    options = {"compressionargs": {"lossless": True}} if kind == "WebP" else {}
    tifffile.imwrite(
        stream, values, photometric="rgb", compression=compression, tile=(SIDE, SIDE), metadata=None, **options
    )
    data = bytearray(stream.getvalue())
    with tifffile.TiffFile(BytesIO(data)) as file:
        (start,), (size,) = file.pages.first.dataoffsets, file.pages.first.databytecounts
    tile = data[start : start + size]
    state(tile, side)
    data[start : start + size] = tile
    return bytes(data)
