"""A DICOM file's bytes -> the attributes that the caller names, and where the pixel data are.

pydicom parses the file. To read an image, the attributes in READ are kept, and none of them describes the patient. Only
a report for the patient's study needs others. Nothing is decoded here. The time and memory that a hostile file can take
are bounded: elements are counted, and deflated data are inflated up to a limit.
"""

import logging
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import pydicom.config
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator, read_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import VR

from src.pictures.limits import MAX_PIXELS
from src.pictures.picture import ImageRefused
from src.pictures.reasons import TOO_MANY_PARTS, TOO_MUCH_MEMORY

logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)  # its warnings quote the file, which must not be logged
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE  # so do the warnings of its validation

MAX_READS: Final = 200_000
"""Reads of a file, about two for each element of it. A header of an ultrasound film has some 1,000 elements. pydicom
takes 2 to 5 us for each, and a file of 12 MB could have a million."""
MAX_INFLATED: Final = 3 * MAX_PIXELS + 10_000_000
"""Bytes that deflated data may become: an 8-bit RGB image of MAX_PIXELS, and its header."""

PIECE: Final = 1_000_000

PIXEL_DATA, FLOAT_DATA, DOUBLE_DATA = 0x7FE00010, 0x7FE00008, 0x7FE00009
UNDEFINED: Final = 0xFFFFFFFF
PREFIX_AT: Final = 128
TRANSFER_SYNTAX: Final = 0x00020010

READ: Final = (
    *("SOPClassUID", "Modality", "ImageType", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("ModalityLUTSequence", "RescaleIntercept", "RescaleSlope", "VOILUTSequence", "VOILUTFunction"),
    *("WindowCenter", "WindowWidth", "ICCProfile", "PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"),
    *("NominalScannedPixelSpacing", "SequenceOfUltrasoundRegions", "SharedFunctionalGroupsSequence"),
    *("RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData"),
    *("GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData"),
    *("BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData"),
    *("SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData"),
    *("SegmentedBluePaletteColorLookupTableData", "EncryptedAttributesSequence", "FrameTime", "CineRate"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "TotalPixelMatrixColumns", "TotalPixelMatrixRows"),
)
"""The keywords of the attributes that reading an image needs."""

_VRS: Final = b"|".join(sorted(vr.value.encode() for vr in VR if len(vr.value) == 2))
_EXPLICIT: Final = re.compile(rb"(?:[\x02\x08]\0..|\0[\x02\x08]..)(?:" + _VRS + rb")", re.DOTALL)


@dataclass(frozen=True)
class DicomFile:
    """A parsed file. Its `repr` says nothing of its content.

    `attributes`: the requested attributes that the file has. `syntax`: the UID of the transfer syntax. `little_endian`:
    the byte order of the attributes. `pixels`: the value of Pixel Data and all that follows; None where there is none.
    `length`: the length in bytes that the file states for the value, None where it states none. `vr`: the value
    representation of the pixel data, None where it is implicit. `floats`: whether the pixel data are floats.
    """

    attributes: Dataset
    syntax: str
    little_endian: bool
    pixels: memoryview | None
    length: int | None
    vr: str | None
    floats: bool

    def __repr__(self) -> str:
        return f"DicomFile({self.syntax})"

    def get(self, keyword: str, default: Any = None) -> Any:
        """The value of the attribute; `default` where the file has none or an empty one."""
        value = self.attributes.get(keyword)
        return default if value is None or value == "" else value

    def number(self, keyword: str, default: int) -> int:
        """A whole number; `default` where the file has none. Raises ValueError or TypeError for anything else."""
        return int(self.get(keyword, default))


def is_dicom(data: bytes) -> bool:
    """Whether a file is DICOM, by its first bytes; with preamble or without."""
    if data.startswith(b"DICM", PREFIX_AT):
        return True
    return _EXPLICIT.match(data) is not None or _is_implicit(data)


def parse(data: bytes, keywords: Sequence[str] = READ, end: int | None = None) -> DicomFile:
    """Parse a file up to its pixel data, and keep the attributes with these keywords.

    `end`: the tag at which parsing ends, for attributes that all lie before it. Raises ImageRefused, or one of
    DECODER_ERRORS for a malformed file.
    """
    stream = _Counted(data)
    stream.seek(PREFIX_AT + 4 if data.startswith(b"DICM", PREFIX_AT) else 0)
    syntax = _transfer_syntax(stream)
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = _Counted(_inflated(data, stream.tell()))
    implicit, little = _encoding(stream, syntax)
    found: list[tuple[int, int, int, str | None]] = []
    tags = [tag for tag in map(tag_for_keyword, keywords) if tag is not None]

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        if tag not in (PIXEL_DATA, FLOAT_DATA, DOUBLE_DATA):
            return end is not None and tag >= end
        found.append((tag, stream.tell(), length, vr))
        return True

    attributes = _uncounted_is_refused(
        stream, lambda: read_dataset(stream, implicit, little, stop_when=at_pixels, specific_tags=tags)
    )
    if syntax is None:
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    if not found:
        return DicomFile(attributes, syntax, little, None, None, None, False)
    tag, start, size, vr = found[-1]
    length = None if size == UNDEFINED else size
    return DicomFile(attributes, syntax, little, stream.data[start:], length, vr, tag != PIXEL_DATA)


class _Counted(BytesIO):
    """Bytes that can be read MAX_READS times. `data` are all of them, not copied."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data, self.reads = memoryview(data), 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise EOFError("too many elements")
        return super().read(size)


def _uncounted_is_refused(stream: _Counted, parse_it: Callable[[], Dataset]) -> Dataset:
    """What `parse_it` returns. Raises ImageRefused if it read too often, because pydicom may hide that error."""
    try:
        parsed = parse_it()
    except OSError:
        if stream.reads <= MAX_READS:
            raise
    if stream.reads > MAX_READS:
        raise ImageRefused(TOO_MANY_PARTS)
    return parsed


def _transfer_syntax(stream: _Counted) -> str | None:
    """The transfer syntax from the file meta information, after which the stream stands; None without any."""
    start, syntax = stream.tell(), None
    if stream.read(2) != b"\x02\0":
        stream.seek(start)
        return None
    stream.seek(start)
    implicit = _EXPLICIT.match(stream.data[start : start + 6]) is None
    for element in data_element_generator(stream, implicit, True, stop_when=lambda tag, *_: tag >> 16 != 2):
        value = element.value
        if element.tag == TRANSFER_SYNTAX and isinstance(value, bytes):
            syntax = value.rstrip(b"\0 ").decode("ascii")
    return syntax


def _encoding(stream: _Counted, syntax: str | None) -> tuple[bool, bool]:
    """Whether the attributes have an implicit VR, and whether they are little endian.

    Writers often state one of both and write the other. So the first element decides where it is unambiguous.
    """
    start = stream.tell()
    head = stream.read(6)
    stream.seek(start)
    explicit = re.match(rb"..(?:..)(?:" + _VRS + rb")", head, re.DOTALL) is not None
    big = explicit and head[0] == 0 and head[1] != 0 if syntax is None else syntax == ExplicitVRBigEndian
    return not explicit, not big


def _is_implicit(data: bytes) -> bool:
    """Whether the bytes begin with two elements of implicit VR, of which the first is of group 8 and short."""
    if len(data) < 16 or data[0:2] != b"\x08\0" or data[3] != 0:
        return False
    length = int.from_bytes(data[4:8], "little")
    following = data[8 + length : 12 + length]
    group, element = (int.from_bytes(following[at : at + 2], "little") for at in (0, 2))
    return length <= 1024 and len(following) == 4 and (8, data[2]) < (group, element) and group <= 0x7FE0


def _inflated(data: bytes, start: int) -> bytes:
    """The data set of a deflated file. Raises ImageRefused where it is larger than MAX_INFLATED.

    It is inflated twice, the first time without being kept, so that a bomb takes time but no memory.
    """
    packed = memoryview(data)[start:]
    counter, left, size = zlib.decompressobj(-zlib.MAX_WBITS), packed, 0
    while not counter.eof:
        piece = counter.decompress(left, PIECE)
        size, left = size + len(piece), memoryview(counter.unconsumed_tail)
        if size > MAX_INFLATED:
            raise ImageRefused(TOO_MUCH_MEMORY)
        if not piece and not left:
            raise EOFError("the deflated data are cut off")
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed)
