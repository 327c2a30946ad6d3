"""DICOM slides whose header and JPEG data disagree about the colour space.

Some scanners' converters write RGB into the header (PhotometricInterpretation) and store JPEG in YCbCr. OpenSlide
believes the header, so it gives luma and chroma as red, green and blue: pink and teal. Viewers that let the JPEG
decoder decide show the right colours.
"""

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from src.pictures import jpeg

NOTE: Final = "Its DICOM header says RGB over JPEG data in YCbCr; the colours were read as the data say."
PIXEL_DATA: Final = b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff"
"""The attribute PixelData of unknown length, in little endian with explicit types, as all JPEG has it."""
ITEM: Final = 0xE000FFFE
FIRST: Final = 2**16
"""Bytes at the beginning of the first frame in which the markers of its JPEG lie."""
APP0, APP14, ADOBE_TRANSFORM = 0xE0, 0xEE, 11
"""Markers of JFIF and Adobe, and where Adobe's has its number: 0 says that the components are as they are."""


def is_mislabelled(path: Path, properties: Mapping[str, str]) -> bool:
    """Whether a slide is a DICOM file whose header says RGB, and whose first frame is a JPEG in YCbCr.

    `properties`: those that OpenSlide gives.
    """
    if properties.get("dicom.PhotometricInterpretation") != "RGB":
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(PIXEL_DATA)
        return at >= 0 and _is_ycbcr(_first_frame(data, at + len(PIXEL_DATA)))


def _first_frame(data: mmap.mmap, at: int) -> bytes:
    """The beginning of the first frame. The first item is the table of offsets."""
    for _ in range(2):
        if at + 8 > len(data):
            return b""
        tag, length = struct.unpack_from("<II", data, at)
        if tag != ITEM:
            return b""
        begin, at = at + 8, at + 8 + length
    return data[begin : min(at, begin + FIRST)]


def _is_ycbcr(frame: bytes) -> bool:
    """Whether JPEG data say that they are in YCbCr, by the rules of libjpeg (jdapimin.c)."""
    if not frame.startswith(b"\xff\xd8"):
        return False
    adobe = None
    for marker, at, _ in jpeg.segments(frame):
        if marker == APP0 and frame[at + 2 : at + 7] == b"JFIF\0":
            return True
        if marker == APP14 and frame[at + 2 : at + 7] == b"Adobe":
            adobe = frame[at + 2 + ADOBE_TRANSFORM]
        if marker in jpeg.FRAMES:
            components = frame[at + 7]
            ids = bytes(frame[at + 8 + 3 * number] for number in range(components))
            return components == 3 and (adobe != 0 if adobe is not None else ids != b"RGB")
    return False
