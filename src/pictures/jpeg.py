"""Checks of JPEG that Pillow lacks: the number of parts, whether the data are complete, and rare kinds of JPEG.

A picture beyond the limit on pixels, such as a phone's, is decoded at half its width and height.
"""

import re
from collections.abc import Iterator

import simplejpeg
from PIL import Image

from src.pictures.decoder_errors import refused_if_damaged
from src.pictures.limits import MAX_PARTS, MAX_PIXELS
from src.pictures.picture import ImageRefused
from src.pictures.pillow_frame import loaded, opened
from src.pictures.reasons import EXPORT

# Markers (ITU-T T.81, table B.1, and T.87).
SCAN, PROGRESSIVE, LOSSLESS, JPEG_LS = 0xDA, (0xC2, 0xCA), (0xC3, 0xC7, 0xCB, 0xCF), 0xF7
PROFILE, END = 0xE2, 0xD9
FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), JPEG_LS)

MOST_PIXELS = 4 * MAX_PIXELS
"""The pixels of the largest JPEG that is read: at half its width and height it has MAX_PIXELS."""
REDUCTION = "reduction"
"""The key of `info` that says how many pixels of the file make one pixel of the image, in width and height."""
HALVED = "The image was read at half its width and height, because it has more than {} megapixels."


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """For each segment: its marker, the offset of its length field, and the number of bytes before the marker.

    It finds markers as libjpeg does: stuffed zeros and restarts belong to a scan. It stops at the end of the picture,
    because phones append whole films. A file that ends earlier gives a last marker 0.
    """
    marker = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")
    position = 2
    while found := marker.search(data, position):
        yield found[1][0], found.end(), found.start() - position
        if found[1] == b"\xd9":
            return
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    yield 0, len(data), len(data) - position


def first_frame(data: bytes, notes: list[str]) -> Image.Image:
    """The picture with every pixel read. Adds sentences to `notes`; raises ImageRefused."""
    _refuse_rare_kinds(data)
    image = opened(data, "JPEG", notes, MOST_PIXELS)
    with refused_if_damaged():
        check_complete(data)
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.draft(None, (width // 2, height // 2))
        image.info[REDUCTION] = round(width / image.width)
        notes.append(HALVED.format(MAX_PIXELS // 10**6))
    return loaded(image)


def _refuse_rare_kinds(data: bytes) -> None:
    for marker, at, _ in segments(data):
        if marker in FRAMES:
            bits = data[at + 2] if at + 2 < len(data) else 8
            if marker in LOSSLESS or marker == JPEG_LS:
                raise ImageRefused(f"This is a lossless JPEG, as scanners and archives write it; {EXPORT}")
            if bits != 8:
                raise ImageRefused(f"This is a JPEG of {bits} bits a channel; {EXPORT}")
            return


def count_parts(data: bytes) -> tuple[int, int]:
    """The number of scans, and of parts that Pillow handles one by one. It stops counting just above the limits."""
    scans = parts = 0
    in_scan = False
    for marker, _, before in segments(data):
        # Bytes between segments count too, because Pillow reads them one by one.
        parts += 1 if in_scan else 1 + before
        in_scan = marker == SCAN
        scans += in_scan
        if max(scans, parts) > MAX_PARTS:
            break
    return scans, parts


def _without_profile(data: bytes) -> bytes:
    """The file without the segments that may hold a colour profile."""
    kept, start = [], 0
    for marker, at, _ in segments(data):
        if marker == SCAN:
            break
        if marker == PROFILE:
            kept.append(data[start : at - 2])
            start = at + int.from_bytes(data[at : at + 2])
    return b"".join((*kept, data[start:]))


def check_stream(data: bytes) -> None:
    """Raise ValueError or EOFError where a JPEG of any kind, as in other files, ends early.

    Only baseline and progressive data of 8 bits are decoded to find out. The others must have their end marker.
    """
    kinds = [(marker, data[at + 2]) for marker, at, _ in segments(data) if marker in FRAMES]
    if kinds and kinds[0][0] not in LOSSLESS and kinds[0] != (JPEG_LS, 8) and kinds[0][1] == 8:
        check_complete(data)
    elif [marker for marker, _, _ in segments(data)][-1] != END:
        raise EOFError("the end of a JPEG is missing")


def check_complete(data: bytes) -> None:
    """Raise ValueError where compressed data end early or are garbled, even where an end marker follows.

    libjpeg only warns, and Pillow drops the warning and fills the missing part with grey or the last colour. This check
    decodes in grey at an eighth of the size, which takes a tenth of the time of reading the picture.
    """
    try:
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, min_factor=1, strict=True)
    except ValueError as error:
        if "nsufficient memory" in str(error):
            raise MemoryError from error
        if str(error).endswith("bad ICC marker"):
            # A damaged profile says nothing about the pixels. The first warning ends the check, so it is done again.
            shorter = _without_profile(data)
            if len(shorter) == len(data):
                raise
            check_complete(shorter)
            return
        # Some cameras write padding after the last block. Nothing is missing then.
        if not str(error).endswith("extraneous bytes before marker 0xd9"):
            raise
    # A progressive JPEG without its last scans is decoded without a warning, but it is blurred. So this follows the
    # lowest bit that the scans give for each of the 64 coefficients of each component (ITU-T T.81, B.2.3).
    lowest: dict[int, list[int]] = {}
    for marker, at, _ in segments(data):
        if marker in PROGRESSIVE:
            lowest = {data[at + 8 + 3 * i]: [16] * 64 for i in range(data[at + 7])}
        elif marker == SCAN and lowest:
            names = data[at + 3 : at + 3 + 2 * data[at + 2] : 2]
            first, last, bits = data[at + 3 + 2 * len(names) : at + 6 + 2 * len(names)]
            for name in names:
                lowest[name][first : last + 1] = [bits & 15] * (last + 1 - first)
    if any(map(any, lowest.values())):
        raise ValueError("scans are missing")
