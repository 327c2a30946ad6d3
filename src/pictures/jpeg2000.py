"""JPEG 2000, decoded by OpenJPEG: through Pillow for 8 bits per channel, through imagecodecs for more."""

import struct
from typing import NamedTuple

import imagecodecs
from PIL import Image

from src.pictures import depth
from src.pictures.decoder_errors import refused_if_damaged
from src.pictures.limits import MAX_PARTS
from src.pictures.picture import ImageRefused
from src.pictures.pillow_frame import loaded, opened
from src.pictures.reasons import DAMAGED
from src.pictures.size import check_size

CODESTREAM = b"\xff\x4f\xff\x51"
"""The markers SOC and SIZ (ISO 15444-1, annex A) at the start of the compressed data."""
MOST_PIXELS = 16_000_000
"""OpenJPEG takes 0.16 s per megapixel on one core (at 4 bits per pixel). Larger images could exceed the time and
memory of one call.
"""


MARKERS, START_OF_TILE = 0xFF00, 0xFF90
"""The lowest marker, and SOT, at the start of each tile-part (ISO 15444-1, table A.2)."""


class Sizes(NamedTuple):
    """The width and height in pixels, the number of channels, and the bits of the deepest channel."""

    width: int
    height: int
    channels: int
    bits: int


def first_frame(data: bytes, notes: list[str]) -> Image.Image:
    """The image with 8 bits per channel. Adds sentences to `notes`; raises ImageRefused."""
    with refused_if_damaged():
        stated = sizes(data)
    check_size(stated.width, stated.height, MOST_PIXELS)
    frame = opened(data, "JPEG2000", notes, MOST_PIXELS)
    if frame.size != (stated.width, stated.height):
        raise ImageRefused(DAMAGED)
    with refused_if_damaged():
        check_complete(data)
    profile = _profile(data)
    if stated.bits > 8:
        with refused_if_damaged():
            values = imagecodecs.jpeg2k_decode(data)
        frame = depth.image(values, notes, alpha=values.ndim == 3 and values.shape[2] in (2, 4))
    else:
        frame = loaded(frame)
    if profile:
        frame.info["icc_profile"] = profile
    return frame


def sizes(data: bytes) -> Sizes:
    """The sizes that the codestream's header states. Raises ValueError or struct.error if there is no header."""
    start = _codestream(data) + len(CODESTREAM)
    _, _, right, lower, left, upper, *_, channels = struct.unpack_from(">HH8IH", data, start)
    bits = max((data[start + 38 + 3 * i] & 127) + 1 for i in range(channels))
    return Sizes(right - left, lower - upper, channels, bits)


def check_complete(data: bytes) -> None:
    """Raise EOFError, or another decoder's error, if a tile or one of its parts is missing (ISO 15444-1, A.4.2).

    OpenJPEG leaves such a tile black.
    """
    start = _codestream(data)
    length, _, right, lower, _, _, width, height, left, upper = struct.unpack_from(">HH8I", data, start + 4)
    tiles = -(-(right - left) // width) * -(-(lower - upper) // height)
    at = start + 4 + length
    while (marker := struct.unpack_from(">HH", data, at))[0] != START_OF_TILE:
        if marker[0] < MARKERS:
            raise ValueError("no marker")
        at += 2 + marker[1]
    parts: dict[int, list[int]] = {}  # for each tile, the number of its parts as each of them states it; 0 if unknown
    while struct.unpack_from(">H", data, at)[0] == START_OF_TILE:
        tile, size, _, count = struct.unpack_from(">HIBB", data, at + 4)
        parts.setdefault(tile, []).append(count)
        if size == 0:  # the last tile-part, up to the end of the codestream
            break
        if size < 14:
            raise ValueError("a tile-part is smaller than its header")
        at += size
    if len(parts) < tiles or any(len(counts) < max(counts) for counts in parts.values()):
        raise EOFError("tiles are missing")


def _codestream(data: bytes) -> int:
    """The offset of the codestream: 0, or the content of the box jp2c (ISO 15444-1, annex I), as OpenJPEG finds it.

    A search for the marker's bytes would not do: another box could contain them, with a smaller size.
    """
    if data.startswith(CODESTREAM):
        return 0
    at = 0
    for _ in range(MAX_PARTS):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        if kind == b"jp2c":
            if not data.startswith(CODESTREAM, at + head):
                break
            return at + head
        if size < head:
            break
        at += size
    raise ValueError("no codestream")


def _profile(data: bytes) -> bytes | None:
    """The ICC profile of a JP2 file's colour specification box (ISO 15444-1, I.5.3.3), which Pillow leaves out."""
    at = data.find(b"colr\x02", 0, _codestream(data))
    if at < 4:
        return None
    size = int.from_bytes(data[at - 4 : at])
    return data[at + 7 : at - 4 + size] or None
