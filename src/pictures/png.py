"""PNG beyond what Pillow checks: how many parts a file has."""

from src.pictures.limits import MAX_PARTS

COLOUR_PROFILE_PARTS = 1000
"""Pillow unpacks each colour profile, to 1 MB at most; a picture has one."""


def count_parts(data: bytes) -> tuple[int, int]:
    """(0 scans, chunks that Pillow handles one by one); counts no further than just past the limits."""
    parts, position = 0, 8
    while position < len(data) and parts <= MAX_PARTS:
        parts += COLOUR_PROFILE_PARTS if data[position + 4 : position + 8] == b"iCCP" else 1
        position += 12 + int.from_bytes(data[position : position + 4])
    return 0, parts
