"""One compressed frame of a DICOM file -> its values.

Each frame is a stream with a header of its own, and decoders allocate memory for what that header states. So it is
compared with the size of the DICOM file before anything is decoded. imagecodecs decodes all kinds.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

import imagecodecs
import numpy as np
from pydicom import uid

from src.pictures import jpeg, jpeg2000
from src.pictures.limits import MAX_PARTS, MAX_SCANS
from src.pictures.picture import ImageRefused
from src.pictures.reasons import TOO_MANY_PARTS
from src.pictures.size import check_size
from src.pictures.stated_size import Stated, of_jpeg, of_jpeg2000

DIFFERENT: Final = "The DICOM file is damaged: its image states another size than the file."
CUT_OFF: Final = "The DICOM file is cut off: its pixel data are incomplete."
YCBCR: Final = ("YBR_FULL", "YBR_FULL_422")
JFIF, ADOBE = 0xE0, 0xEE  # the markers of application segments
ADOBE_LENGTH: Final = 14
"""The length that an Adobe segment with all its fields states. The last field says whether the colours are YCbCr."""
MAX_SAMPLES: Final = 3
"""The most values per pixel, so the most scans of a JPEG-LS."""
JPEG_LS_MARKER: Final = re.compile(rb"\xff[\x80-\xff]")
JPEG_LS_SCAN: Final = b"\xff\xda"
ONES: Final = b"\x7f\xff\xd9"
LEFT_OVER: Final = "still contains encoded data"
"""What CharLS says where data are left over behind the last pixel."""
MCT_AT: Final = 6
"""The offset of the flag for the multiple component transform from the length of the marker segment COD."""


class Shape(NamedTuple):
    """What the DICOM file states of each frame.

    Height and width in pixels, the number of values per pixel, bits that a value takes and uses, whether values are
    signed, and their kind of colour.
    """

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    signed: bool
    photometric: str


class Values(NamedTuple):
    """The values (H, W) or (H, W, 3) of a frame, and their kind of colour after decoding."""

    array: np.ndarray
    photometric: str


def decoded(syntax: str, data: bytes, shape: Shape) -> Values:
    """The values of one compressed frame. Raises ImageRefused, KeyError for an unknown syntax, or DECODER_ERRORS."""
    stated, decode = CODECS[syntax]
    for size in stated(data) if stated else ():
        if (size.height, size.width, size.channels) != (shape.rows, shape.columns, shape.samples):
            raise ImageRefused(DIFFERENT)
    values = decode(data, shape)
    if values.array.shape != (shape.rows, shape.columns, shape.samples)[: 2 + (shape.samples > 1)]:
        raise ImageRefused(DIFFERENT)
    return Values(_with_sign(values.array, shape), values.photometric)


def _with_sign(array: np.ndarray, shape: Shape) -> np.ndarray:
    """The values, signed or not as the DICOM file says. Most codecs have no sign, and some streams state the wrong."""
    if shape.signed == (array.dtype.kind == "i"):
        return array
    unused = max(0, 8 * array.itemsize - shape.stored)
    bits = np.left_shift(array.view(f"u{array.itemsize}"), unused)
    return np.right_shift(bits.view(f"i{array.itemsize}") if shape.signed else bits, unused)


def _one(sizes: Iterator[Stated]) -> Iterator[Stated]:
    """The sizes, of which there must be one: without any, the decoder would find one where this check found none."""
    empty = True
    for size in sizes:
        empty = False
        yield size
    if empty:
        raise ValueError("no size is stated")


def _of_jpeg(data: bytes) -> Iterator[Stated]:
    yield from _one(of_jpeg(data))


def _jpeg(data: bytes, shape: Shape) -> Values:
    """JPEG: baseline, extended with 12 bits, and lossless."""
    scans, parts = jpeg.count_parts(data)
    if scans > MAX_SCANS or parts > MAX_PARTS:
        raise ImageRefused(TOO_MANY_PARTS)
    lossless = next(marker for marker, _, _ in jpeg.segments(data) if marker in jpeg.FRAMES) in jpeg.LOSSLESS
    jpeg.check_stream(data)
    if shape.samples == 1:
        return Values(imagecodecs.jpeg8_decode(data), shape.photometric)
    ycbcr = not lossless and _is_ycbcr(data, shape.photometric)
    colours = "ycbcr" if ycbcr else "rgb"
    # A lossless JPEG has no transform of its own. What its values mean is what the DICOM file says.
    array = imagecodecs.jpeg8_decode(data, colorspace=colours, outcolorspace="rgb")
    return Values(array, shape.photometric if lossless else "RGB")


def _is_ycbcr(data: bytes, photometric: str) -> bool:
    """Whether a colour JPEG has YCbCr.

    Some files, as of whole-slide scanners, say RGB over YCbCr. So the stream's own marks come first, in this order:
    subsampled colours, which RGB never has; JFIF, which is always YCbCr; the transform in a complete Adobe segment; the
    names of the components. Without any of these marks, the DICOM file decides.
    """
    adobe, jfif = None, False
    for marker, at, _ in jpeg.segments(data):
        # Some writers leave out the byte for the transform. Decoders then ignore the segment, as libjpeg does.
        length = int.from_bytes(data[at : at + 2])
        if marker == ADOBE and length >= ADOBE_LENGTH and data.startswith(b"Adobe", at + 2):
            adobe = data[at + 13] != 0
        jfif |= marker == JFIF and data.startswith(b"JFIF", at + 2)
        if marker in jpeg.FRAMES:
            names, factors = zip(*((data[at + 8 + 3 * i], data[at + 9 + 3 * i]) for i in range(3)), strict=True)
            if factors[0] != factors[1] or jfif:
                return True
            if adobe is not None:
                return adobe
            return photometric != "RGB" and bytes(names) not in (b"RGB", b"rgb")
    raise ValueError("no frame")


def _check_scans(data: bytes) -> None:
    """Raise JpeglsError where a scan of a JPEG-LS ends before its last pixel.

    CharLS counts the zeros of a code, and where the scan ends within them, it counts on to 2^31, for seconds. So each
    scan is first decoded with ones behind it, which end such a code. A scan that is complete leaves them over.
    """
    start, scans = data.find(JPEG_LS_SCAN), 0
    while start >= 0:
        scans += 1
        if scans > MAX_SAMPLES:
            raise ImageRefused(TOO_MANY_PARTS)
        end = JPEG_LS_MARKER.search(data, start + len(JPEG_LS_SCAN))
        if end is None:
            raise ImageRefused(CUT_OFF)
        try:
            imagecodecs.jpegls_decode(data[: end.start()] + ONES)
        except imagecodecs.JpeglsError as error:
            if LEFT_OVER not in str(error):
                raise
        start = data.find(JPEG_LS_SCAN, end.start())


def _jpeg_ls(data: bytes, shape: Shape) -> Values:
    _check_scans(data)
    return Values(_by_pixel(imagecodecs.jpegls_decode(data), shape), shape.photometric)


def _jpeg_2000(data: bytes, shape: Shape) -> Values:
    """JPEG 2000, also in its high-throughput form. OpenJPEG refuses what is cut off; OpenJPH (htj2k) does not."""
    check_size(shape.columns, shape.rows, jpeg2000.MOST_PIXELS)
    jpeg2000.check_complete(data)
    return Values(imagecodecs.jpeg2k_decode(data), _after_transform(data, shape.photometric))


def _by_pixel(array: np.ndarray, shape: Shape) -> np.ndarray:
    """The values with the colours last; some streams store one plane for each colour."""
    planes = array.shape == (shape.samples, shape.rows, shape.columns)
    return np.moveaxis(array, 0, 2) if planes else array


def _after_transform(data: bytes, photometric: str) -> str:
    """The kind of colour after the decoder, which undoes the transform of colours if the stream has one (COD)."""
    if photometric in YCBCR:
        at = data.find(b"\xff\x52")
        return "RGB" if at >= 0 and data[at + 2 + MCT_AT] else photometric
    return "RGB" if photometric in ("YBR_ICT", "YBR_RCT") else photometric


def _run_length(data: bytes, shape: Shape) -> Values:
    size = shape.rows * shape.columns * shape.samples
    values = np.empty(size * shape.allocated // 8, np.uint8)
    read = imagecodecs.dicomrle_decode(data, f"<u{shape.allocated // 8}", out=values.data)
    if len(read) != values.size:
        raise EOFError("values are missing")
    planes = values.view(f"<u{shape.allocated // 8}").reshape(shape.samples, shape.rows, shape.columns)
    return Values(np.moveaxis(planes, 0, 2) if shape.samples > 1 else planes[0], shape.photometric)


Decode = Callable[[bytes, Shape], Values]
StatedSizes = Callable[[bytes], Iterator[Stated]]

CODECS: Final[Mapping[str, tuple[StatedSizes | None, Decode]]] = {
    uid.JPEGBaseline8Bit: (_of_jpeg, _jpeg),
    uid.JPEGExtended12Bit: (_of_jpeg, _jpeg),
    uid.JPEGLossless: (_of_jpeg, _jpeg),
    uid.JPEGLosslessSV1: (_of_jpeg, _jpeg),
    uid.JPEGLSLossless: (_of_jpeg, _jpeg_ls),
    uid.JPEGLSNearLossless: (_of_jpeg, _jpeg_ls),
    uid.JPEG2000Lossless: (of_jpeg2000, _jpeg_2000),
    uid.JPEG2000: (of_jpeg2000, _jpeg_2000),
    uid.HTJ2KLossless: (of_jpeg2000, _jpeg_2000),
    uid.HTJ2KLosslessRPCL: (of_jpeg2000, _jpeg_2000),
    uid.HTJ2K: (of_jpeg2000, _jpeg_2000),
    uid.RLELossless: (None, _run_length),
}
"""Transfer syntax -> the sizes that a frame's data state, and the decoder."""
