"""The kinds of file that are read, each recognised by its first bytes.

To read another format, add it to FORMATS together with the checks that it needs before its decoder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from PIL import Image

from src.pictures import bmp, dicom, heif, jpeg, jpeg2000, png, tiff, webp


def _no_parts(_: bytes) -> tuple[int, int]:
    return 0, 0


@dataclass(frozen=True)
class Format:
    """A kind of file that is read.

    `recognises` checks a file's first bytes. `first_frame` returns the picture with 8 bits per channel, and with the
    file's colour space and orientation in `info`; it adds sentences to its list of notes, and raises ImageRefused.
    `frames` opens a file that may hold a cine, of which each frame is an image; None for the other formats.
    `count_parts` returns the number of scans and of parts that are handled one by one; for a damaged file it may raise
    any of DECODER_ERRORS.
    """

    name: str
    recognises: Callable[[bytes], bool]
    first_frame: Callable[[bytes, list[str]], Image.Image]
    count_parts: Callable[[bytes], tuple[int, int]] = _no_parts
    frames: Callable[[bytes], dicom.Cine] | None = None


def _begins(*magics: bytes, at: int = 0) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(magics, at)


FORMATS: Final = (
    # First, because a DICOM file may begin with 128 bytes of any other format.
    Format("DICOM", dicom.is_dicom, dicom.first_frame, frames=dicom.Cine),
    Format("JPEG", _begins(b"\xff\xd8\xff"), jpeg.first_frame, jpeg.count_parts),
    Format("PNG", _begins(b"\x89PNG"), png.first_frame, png.count_parts),
    Format("WebP", _begins(b"WEBP", at=8), webp.first_frame),
    Format("TIFF", _begins(*tiff.PREFIXES), tiff.first_frame, tiff.count_parts),
    Format("BMP", _begins(b"BM"), bmp.first_frame),
    Format("AVIF", heif.is_avif, heif.avif_frame),
    Format("HEIC", heif.is_heic, heif.heic_frame),
    Format("JPEG 2000", _begins(b"\0\0\0\x0cjP  \r\n\x87\n", jpeg2000.CODESTREAM), jpeg2000.first_frame),
)


def recognised(data: bytes) -> Format | None:
    """The format of a file by its bytes, not its suffix; None if it is none of FORMATS."""
    return next((one for one in FORMATS if one.recognises(data)), None)
