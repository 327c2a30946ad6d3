"""The kinds of file that are read, each recognised by its first bytes, and the kinds that are refused by name.

To read another format: add it to FORMATS, with what must be checked of it before and beside Pillow.
"""

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from PIL import Image, TiffImagePlugin

from src.pictures import jpeg, png, tiff

Signature = tuple[int, bytes]
"""An offset, and the bytes that a file of this kind has there."""


def _no_parts(_: bytes) -> tuple[int, int]:
    return 0, 0


def _unchecked(_: bytes) -> None:
    """Pillow itself notices where pixels are missing."""


@dataclass(frozen=True)
class Format:
    """A kind of file that is read.

    `name` is Pillow's. A file is of this kind where it has one of the `signatures`. `count_parts` returns how many
    scans it has and how many parts Pillow handles one by one. `check_complete` raises where pixels are missing that
    Pillow would make up. Both may raise any of DECODER_ERRORS for a damaged file.
    """

    name: str
    signatures: tuple[Signature, ...]
    count_parts: Callable[[bytes], tuple[int, int]] = _no_parts
    check_complete: Callable[[bytes], None] = _unchecked


FORMATS: Final = (
    Format("JPEG", ((0, b"\xff\xd8\xff"),), jpeg.count_parts, jpeg.check_complete),
    Format("PNG", ((0, b"\x89PNG"),), png.count_parts),
    Format("WEBP", ((8, b"WEBP"),)),
    Format("TIFF", tuple((0, prefix) for prefix in TiffImagePlugin.PREFIXES), tiff.count_parts),
    Format("BMP", ((0, b"BM"),)),
)

EXPORT: Final = "export it as PNG or JPEG first."

REFUSED_BY_NAME: Final[tuple[tuple[Signature, str], ...]] = (
    ((128, b"DICM"), f"This is a DICOM file (medical archive format); {EXPORT}"),
    ((0, b"GIF8"), f"This is a GIF, whose 256 colours lose detail; {EXPORT}"),
    ((0, b"%PDF"), f"This is a PDF document; {EXPORT}"),
    ((0, b"8BPS"), f"This is a Photoshop file; {EXPORT}"),
    ((0, b"%!PS"), f"This is a PostScript file; {EXPORT}"),
    ((0, b"\xc5\xd0\xd3\xc6"), f"This is a PostScript file; {EXPORT}"),
    ((4, b"ftypheic"), f"This is a HEIC photo (iPhone); {EXPORT}"),
    ((4, b"ftypheix"), f"This is a HEIC photo (iPhone); {EXPORT}"),
    ((4, b"ftypmif1"), f"This is a HEIC photo (iPhone); {EXPORT}"),
    ((4, b"ftypavif"), f"This is an AVIF picture; {EXPORT}"),
    ((4, b"jP  \r\n\x87\n"), f"This is a JPEG 2000 picture; {EXPORT}"),
    ((0, b"\xff\x4f\xff\x51"), f"This is a JPEG 2000 picture; {EXPORT}"),
    ((0, b"PK\x03\x04"), "This is a ZIP archive; unpack it and give one picture."),
)
"""Kinds of file that people do have at hand: the signature, and the sentence that refuses it."""

DECODER_ERRORS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""The errors that Pillow's readers of FORMATS, and the code they share, raise on malformed files.

Reading 260,000 mutated files raised OSError (truncated, broken stream, libtiff, libwebp, UnidentifiedImageError),
SyntaxError (broken chunk or marker), ValueError (text or profile too large, unknown mode), TypeError (a tag of another
type), OverflowError, struct.error and the bomb error. Pillow uses the same tables, tags and sizes unchecked elsewhere,
where they can raise EOFError, LookupError, AttributeError, AssertionError, ZeroDivisionError, RuntimeError (recursion,
not implemented), MemoryError and zlib.error. Catch them around calls of Pillow and of `Format` alone: anywhere else
they would hide a fault of ours."""

_SVG: Final = re.compile(rb"(\xef\xbb\xbf)?\s*<(\?xml[^>]*>.{0,1000}<)?svg", re.DOTALL | re.IGNORECASE)


def recognised(data: bytes) -> Format | None:
    """The format of a file, None where it is none of FORMATS. Its bytes decide, not its suffix."""
    for one in FORMATS:
        if any(data.startswith(magic, offset) for offset, magic in one.signatures):
            return one
    return None


def refusal_by_name(data: bytes) -> str | None:
    """The sentence that refuses a kind of file people often have, None for any other kind."""
    for (offset, magic), sentence in REFUSED_BY_NAME:
        if data.startswith(magic, offset):
            return sentence
    return f"This is an SVG drawing; {EXPORT}" if _SVG.match(data[:2000]) else None
