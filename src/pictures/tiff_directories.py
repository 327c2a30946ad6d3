"""The directories of a TIFF file, checked before tifffile reads them.

tifffile reads a tag as often as the file repeats it, follows pages without end, and ignores a tag whose value lies
outside the file. So all three are checked first.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from src.pictures.limits import MAX_FRAMES, MAX_PARTS

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value of each type of tag (TIFF 6.0, section 2, and BigTIFF)."""
STRIP_OFFSETS, TILE_OFFSETS = 273, 324
NEEDED = frozenset(
    # Size, depth, compression, meaning of values and planes, where they lie, predictor, palette, tables, profile.
    (
        256,
        257,
        258,
        259,
        262,
        266,
        270,
        273,
        277,
        278,
        279,
        284,
        317,
        320,
        322,
        323,
        324,
        325,
        338,
        339,
        347,
        530,
        34675,
    )
)
"""The tags that a page needs to be decoded correctly."""
MAX_TAG_BYTES = 100_000_000
"""Bytes of the values of all tags together. tifffile takes about 0.2 s for so many."""


class Entry(NamedTuple):
    """A tag of a directory: its code, and how many values and bytes it has."""

    code: int
    values: int
    size: int


def directories(data: bytes) -> Iterator[list[Entry]]:
    """The entries of each page's directory.

    Raises struct.error, KeyError or EOFError where the first cannot be read, or one lies behind the file's end, as
    where a file was cut off; a later one that is garbled otherwise ends the walk.
    """
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    offset, number, entry = (order + kind for kind in (("Q", "Q", "HHQ") if big else ("I", "H", "HHI")))
    inline = struct.calcsize(offset)
    (at,) = struct.unpack_from(offset, data, 8 if big else 4)
    seen: set[int] = set()
    while at and at not in seen:
        seen.add(at)
        if at >= len(data):
            raise EOFError("directory outside the file")
        try:
            (entries,) = struct.unpack_from(number, data, at)
            at += struct.calcsize(number)
            length = struct.calcsize(entry) + inline
            if at + entries * length > len(data):
                raise EOFError("directory outside the file")
            found = [_entry(data, at + i * length, entry, offset) for i in range(min(entries, MAX_PARTS))]
            (following,) = struct.unpack_from(offset, data, at + entries * length)
        except (struct.error, KeyError, EOFError):
            if len(seen) == 1:
                raise
            return
        yield found
        at = following


def _entry(data: bytes, at: int, entry: str, offset: str) -> Entry:
    code, kind, count = struct.unpack_from(entry, data, at)
    size = count * SIZES.get(kind, 1)
    if size > struct.calcsize(offset):
        (where,) = struct.unpack_from(offset, data, at + struct.calcsize(entry))
        if where + size > len(data):
            if code in NEEDED:
                raise EOFError("values outside the file")
            size = 0
    return Entry(code, count, size)


def count_parts(data: bytes) -> tuple[int, int]:
    """(0 scans, strips or tiles of the page that has most); past the limits where the tags are too large.

    Raises as `directories` does.
    """
    parts = size = 0
    for page, entries in enumerate(directories(data), start=1):
        parts = max([parts, *(entry.values for entry in entries if entry.code in (STRIP_OFFSETS, TILE_OFFSETS))])
        size += sum(entry.size for entry in entries)
        if size > MAX_TAG_BYTES:
            return 0, MAX_PARTS + 1
        if page > MAX_FRAMES:
            break
    return 0, parts


def count_pages(data: bytes) -> int:
    """The number of pages, counted no further than just past MAX_FRAMES."""
    return sum(1 for _, _ in zip(range(MAX_FRAMES + 1), directories(data), strict=False))
