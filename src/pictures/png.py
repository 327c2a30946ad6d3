"""PNG features that Pillow lacks: a limit on parts, whether the data are complete, 16 bits per channel, and cICP."""

import struct
import zlib
from collections.abc import Iterator

import imagecodecs
from PIL import Image

from src.pictures import depth, resolution
from src.pictures.decoder_errors import refused_if_damaged
from src.pictures.limits import MAX_PARTS
from src.pictures.pillow_frame import first_frame as pillow_first_frame
from src.pictures.profiles import CodePoints

COLOUR_PROFILE_PARTS = 1000
"""Pillow unpacks each colour profile, to 1 MB at most; a picture has one."""
HEADER_AT, BIT_DEPTH_AT = 16, 24
"""Offsets in a file of the content of IHDR, which is always the first chunk, and of the bit depth in it."""
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""The number of channels by the colour type (PNG specification, 11.2.1)."""
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""For each pass of an interlaced image: the first column and row, and the steps to the next (8.2)."""
PIECE = 2**20
"""Bytes that are unpacked at once to count them."""


def chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """The kind and the content of each chunk."""
    whole, position = memoryview(data), 8
    while position < len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4])
        yield data[position + 4 : position + 8], whole[position + 8 : end]
        position = end + 4


def count_parts(data: bytes) -> tuple[int, int]:
    """0 scans, and the number of chunks, which Pillow handles one by one. It stops counting just above the limit."""
    parts = 0
    for kind, _ in chunks(data):
        parts += COLOUR_PROFILE_PARTS if kind == b"iCCP" else 1
        if parts > MAX_PARTS:
            break
    return 0, parts


def first_frame(data: bytes, notes: list[str]) -> Image.Image:
    """The first frame, 8 bits a channel. Adds sentences to `notes`; raises ImageRefused."""
    frame = pillow_first_frame(data, "PNG", notes)
    with refused_if_damaged():
        check_complete(data)
    if data[BIT_DEPTH_AT] == 16:
        with refused_if_damaged():
            values = imagecodecs.png_decode(data)
        deep = depth.image(values, notes, alpha=values.ndim == 3 and values.shape[2] in (2, 4))
        deep.info = {key: value for key, value in frame.info.items() if key != "transparency"}
        frame = deep
    if "dpi" in frame.info:  # from pHYs, where that has a unit
        frame.info[resolution.KEY] = resolution.of_dpi(frame.info["dpi"])
    code_points = next((bytes(content) for kind, content in chunks(data) if kind == b"cICP"), b"")
    if len(code_points) == 4:
        frame.info["code_points"] = CodePoints(*code_points[:2])
    return frame


def check_complete(data: bytes) -> None:
    """Raise EOFError if rows or passes are missing, or if the file has no end.

    Pillow stops at the last row that it finds, without an error, and leaves the others black.
    """
    width, height, bits, colours, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, HEADER_AT)
    needed = 0
    for left, upper, right, lower in PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // right), -(-(height - upper) // lower)
        if columns > 0 and rows > 0:
            needed += rows * (1 + -(-columns * bits * CHANNELS[colours] // 8))
    unpacked, inflate, kind = 0, zlib.decompressobj(), b""
    for kind, content in chunks(data):
        packed: bytes | memoryview = content if kind == b"IDAT" else b""
        while packed and unpacked < needed:
            unpacked += len(inflate.decompress(packed, PIECE))
            packed = inflate.unconsumed_tail
    if unpacked < needed or kind != b"IEND":
        raise EOFError("image data are missing")
