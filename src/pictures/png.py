"""PNG features that Pillow lacks: a limit on parts, 16 bits per channel, and the chunk cICP."""

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
BIT_DEPTH_AT = 24
"""Offset of the bit depth in a file: IHDR is always the first chunk."""


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kind and the first four bytes of each chunk."""
    position = 8
    while position < len(data):
        yield data[position + 4 : position + 8], data[position + 8 : position + 12]
        position += 12 + int.from_bytes(data[position : position + 4])


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
    if data[BIT_DEPTH_AT] == 16:
        with refused_if_damaged():
            values = imagecodecs.png_decode(data)
        deep = depth.image(values, notes, alpha=values.ndim == 3 and values.shape[2] in (2, 4))
        deep.info = {key: value for key, value in frame.info.items() if key != "transparency"}
        frame = deep
    if "dpi" in frame.info:  # from pHYs, where that has a unit
        frame.info[resolution.KEY] = resolution.of_dpi(frame.info["dpi"])
    code_points = next((body for kind, body in chunks(data) if kind == b"cICP"), b"")
    if len(code_points) == 4:
        frame.info["code_points"] = CodePoints(*code_points[:2])
    return frame
