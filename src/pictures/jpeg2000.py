"""JPEG 2000, decoded by OpenJPEG: through Pillow for 8 bits per channel, through imagecodecs for more."""

import struct
from typing import NamedTuple

import imagecodecs
from PIL import Image

from src.pictures import depth
from src.pictures.decoder_errors import refused_if_damaged
from src.pictures.picture import ImageRefused
from src.pictures.pillow_frame import loaded, opened
from src.pictures.reasons import DAMAGED
from src.pictures.size import check_size

CODESTREAM = b"\xff\x4f\xff\x51"
"""The markers SOC and SIZ (ISO 15444-1, annex A) at the start of the compressed data."""
MOST_PIXELS = 16_000_000
"""OpenJPEG takes 0.16 s per megapixel on one core (at 4 bits per pixel). Larger pictures could exceed the time and
memory of one call.
"""


class Sizes(NamedTuple):
    """The width and height in pixels, and the bits of the deepest channel, from the header of the codestream."""

    width: int
    height: int
    bits: int


def first_frame(data: bytes, notes: list[str]) -> Image.Image:
    """The picture, 8 bits a channel. Adds sentences to `notes`; raises ImageRefused."""
    with refused_if_damaged():
        sizes = _sizes(data)
    check_size(sizes.width, sizes.height, MOST_PIXELS)
    frame = opened(data, "JPEG2000", notes, MOST_PIXELS)
    if frame.size != (sizes.width, sizes.height):
        raise ImageRefused(DAMAGED)
    profile = _profile(data)
    if sizes.bits > 8:
        with refused_if_damaged():
            values = imagecodecs.jpeg2k_decode(data)
        frame = depth.image(values, notes, alpha=values.ndim == 3 and values.shape[2] in (2, 4))
    else:
        frame = loaded(frame)
    if profile:
        frame.info["icc_profile"] = profile
    return frame


def _sizes(data: bytes) -> Sizes:
    start = data.index(CODESTREAM) + len(CODESTREAM)
    _, _, right, lower, left, upper, *_, channels = struct.unpack_from(">HH8IH", data, start)
    bits = max((data[start + 38 + 3 * i] & 127) + 1 for i in range(channels))
    return Sizes(right - left, lower - upper, bits)


def _profile(data: bytes) -> bytes | None:
    """The ICC profile of a JP2 file's colour specification box (ISO 15444-1, I.5.3.3), which Pillow leaves out."""
    at = data.find(b"colr\x02", 0, data.index(CODESTREAM))
    if at < 4:
        return None
    size = int.from_bytes(data[at - 4 : at])
    return data[at + 7 : at - 4 + size] or None
