"""Bytes or a path -> an upright 8-bit RGB picture or a refusal that says why; region of interest.

The only place that decodes a picture. It knows Pillow and the limits of a public demo; it does not know networks, model
input sizes (callers pass theirs), thresholds or the page, and it judges a picture's make, never its content.

Colour profiles (ICC) are not applied: the public sets were decoded without them, and the models learned from that.
"""

import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, TiffImagePlugin

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
# A phone's 12-megapixel JPEG has 3 to 6 MB; larger files are mostly raw or uncompressed ones. 1 MB is 10^6 bytes.
MAX_BYTES = 12_000_000
# Decoded, 40 megapixels are 160 MB (Pillow keeps RGB in 4 bytes a pixel): two of them fit beside a model in 2 GB.
MAX_PIXELS = 40_000_000
# The smallest input of any task (BreastMNIST): below it every model would look at invented pixels only.
MIN_SIDE = 28
# Longer side to shorter side. Whole-organ panoramas of ultrasound reach 5:1; a strip beyond 20:1 shows a network
# nothing, and steps that work by the longer side would need gigabytes for a picture of a few kilobytes.
MAX_ASPECT = 20
# Files of a few MB that would keep a core busy for a minute and more, each refused by counting its parts beforehand
# (_parts): a JPEG is decoded scan by scan over the whole picture (50 ms a scan at 40 megapixels; encoders write 1 to
# 20), and Pillow handles JPEG segments, PNG chunks and TIFF tiles one by one in Python (5 to 15 us each, EXIF segments
# in quadratic time; a 40-megapixel picture in strips of one row has some 6,000).
MAX_SCANS = 50
MAX_PARTS = 20_000
# A scanner's TIFF has a thumbnail and some ten sizes of the same picture. What has more frames is a film, a stack or a
# document, of which the first says nothing.
MAX_FRAMES = 50

# Region of interest: a row or column belongs to the field where more than FIELD_SHARE of it is not background.
PROFILE_SIDE = 384  # px: fine enough for margins, and the same boxes from a large picture and its small copy
NOT_BLACK = 8  # brightness: above JPEG's ringing in black margins, below the speckle of deep, dark tissue
WHITE = 240  # a border at least this bright is a page, not a scan
FIELD_SHARE = 0.1  # lines of text and depth ticks light up less of their rows and columns
FURNITURE = 0.15  # of the side: outer bands thinner than this and apart from the rest are header or grey bar, not field
MAX_GAP = 0.02  # of the side: dark bands up to this within the field do not end it
MIN_REGION = 0.4  # of the side: less than this and the profile is not to be trusted

# JPEG markers (ITU-T T.81, table B.1).
SCAN, PROGRESSIVE = 0xDA, (0xC2, 0xCA)

TOO_MANY_FRAMES = f"This file holds more than {MAX_FRAMES} frames or pages; export the one to be read as PNG or JPEG."
TOO_MANY_PARTS = "This file is made of far too many parts to be an ordinary picture; save it again as PNG or JPEG."
NOT_A_PICTURE = "This file is not a picture that can be read (JPEG, PNG, WebP, TIFF or BMP)."
TOO_MUCH_MEMORY = "Reading this picture takes more memory than there is for one picture; make it smaller."
DAMAGED = "This file is cut off, damaged or of a rare kind that cannot be read; save it again as PNG or JPEG."

# What Pillow's readers of the five formats and the code they share (Image, ImageFile, ImagePalette, Exif) let out on
# malformed files. Seen when 260,000 mutated files were read: OSError (truncated, broken stream, libtiff, libwebp,
# UnidentifiedImageError), SyntaxError (broken chunk or marker), ValueError (text or profile too large, unknown mode),
# TypeError (a tag of another type), OverflowError, struct.error and the bomb error. From its source, where the same
# tables, tags and sizes are used unchecked: EOFError, LookupError, AttributeError, AssertionError, ZeroDivisionError,
# RuntimeError (recursion, not implemented), MemoryError, zlib.error.
# Only Pillow's calls and _parts, which uses its TIFF reader, stand under it, so that it hides no fault of ours.
DECODER_ERRORS = (
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

# EXIF orientation -> what turns the picture upright. ImageOps.exif_transpose also rewrites the EXIF block and fails on
# blocks it cannot write back, which phones do produce; we keep no EXIF, so only the turn is needed.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# (offset, magic bytes, sentence): kinds of file that people do have at hand and that are refused by name.
_EXPORT = "export it as PNG or JPEG first."
KNOWN_REFUSALS = (
    (128, b"DICM", f"This is a DICOM file (medical archive format); {_EXPORT}"),
    (0, b"GIF8", f"This is a GIF, whose 256 colours lose detail; {_EXPORT}"),
    (0, b"%PDF", f"This is a PDF document; {_EXPORT}"),
    (0, b"8BPS", f"This is a Photoshop file; {_EXPORT}"),
    (0, b"%!PS", f"This is a PostScript file; {_EXPORT}"),
    (0, b"\xc5\xd0\xd3\xc6", f"This is a PostScript file; {_EXPORT}"),
    (4, b"ftypheic", f"This is a HEIC photo (iPhone); {_EXPORT}"),
    (4, b"ftypheix", f"This is a HEIC photo (iPhone); {_EXPORT}"),
    (4, b"ftypmif1", f"This is a HEIC photo (iPhone); {_EXPORT}"),
    (4, b"ftypavif", f"This is an AVIF picture; {_EXPORT}"),
    (4, b"jP  \r\n\x87\n", f"This is a JPEG 2000 picture; {_EXPORT}"),
    (0, b"\xff\x4f\xff\x51", f"This is a JPEG 2000 picture; {_EXPORT}"),
    (0, b"PK\x03\x04", "This is a ZIP archive; unpack it and give one picture."),
)


class ImageRefused(ValueError):  # noqa: N818 - a refusal is an answer, not an error of ours
    """The picture cannot be used; `str()` is one sentence for the person who gave it."""


@dataclass(frozen=True)
class Picture:
    """`image`: mode RGB, 8 bit, upright, the first frame. `notes`: what was changed on the way, one sentence each."""

    image: Image.Image
    notes: tuple[str, ...]


def read(source: str | os.PathLike[str] | bytes | None) -> Picture:
    """Decode one picture from a path or from the file's bytes; both give the same result.

    What a file is, its bytes say, not its suffix. Raises ImageRefused, and nothing else, whatever the file holds.
    """
    data = _contents(source)
    notes: list[str] = []
    image = _decoded(data, notes)
    return Picture(_upright(_as_rgb(image, notes), image, notes), tuple(notes))


def _contents(source: str | os.PathLike[str] | bytes | None) -> bytes:
    if isinstance(source, bytes):
        data, size = source, len(source)
    else:
        if not isinstance(source, str | os.PathLike) or not os.fspath(source):
            raise ImageRefused("No picture was given.")
        try:
            # A pipe or device would block for ever or never end; a text with a null byte is no path (ValueError).
            if not Path(source).is_file():
                raise ImageRefused("There is no such file.")
            with Path(source).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                data = b"" if size > MAX_BYTES else file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ImageRefused("The file could not be opened.") from error
        size = max(size, len(data))
    if size > MAX_BYTES:
        raise ImageRefused(
            f"The file has {size / 1e6:.1f} MB; at most {MAX_BYTES // 10**6} MB are read. Save it smaller or as JPEG."
        )
    if not data:
        raise ImageRefused("The file is empty.")
    return data


def _decoded(data: bytes, notes: list[str]) -> Image.Image:
    """The first frame, every pixel of it read, in whatever mode the file has."""
    for offset, magic, sentence in KNOWN_REFUSALS:
        if data.startswith(magic, offset):
            raise ImageRefused(sentence)
    if re.match(rb"(\xef\xbb\xbf)?\s*<(\?xml[^>]*>.{0,1000}<)?svg", data[:2000], re.DOTALL | re.IGNORECASE):
        raise ImageRefused(f"This is an SVG drawing; {_EXPORT}")
    try:
        scans, parts = _parts(data)
    except DECODER_ERRORS as error:
        raise ImageRefused(DAMAGED) from error
    if scans > MAX_SCANS or parts > MAX_PARTS:
        raise ImageRefused(TOO_MANY_PARTS)
    try:
        # Pillow raises above 179 megapixels and warns above 89. The warning cannot be made an error here without a
        # global filter (catch_warnings is not thread-safe), and need not be: our own check follows at once.
        image = Image.open(BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageRefused(f"The picture has more than {MAX_PIXELS // 10**6} megapixels; make it smaller.") from error
    except DECODER_ERRORS as error:
        ours = data.startswith((b"\xff\xd8\xff", b"\x89PNG", b"BM", *TiffImagePlugin.PREFIXES)) or data[8:12] == b"WEBP"
        raise ImageRefused(DAMAGED if ours else NOT_A_PICTURE) from error

    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageRefused(
            f"The picture has {width} × {height} pixels, more than {MAX_PIXELS // 10**6} megapixels; make it smaller."
        )
    if min(width, height) < MIN_SIDE:
        raise ImageRefused(f"The picture has {width} × {height} pixels; at least {MIN_SIDE} × {MIN_SIDE} are needed.")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageRefused(
            f"The picture has {width} × {height} pixels, and its longer side is more than {MAX_ASPECT} times its "
            "shorter one; give the whole picture, not a strip."
        )
    # n_frames would walk all pages of a TIFF, of which a file of 12 MB can claim a million. A phone's MPO (JPEG) is
    # left out: its further frames are previews and depth maps.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        if _has_frame(image, MAX_FRAMES):
            raise ImageRefused(TOO_MANY_FRAMES)
        notes.append("The file holds several frames or pages; only the first was read.")
    try:
        if image.format in ("JPEG", "MPO"):
            _whole_jpeg(data)
        image.load()
    except MemoryError as error:
        raise ImageRefused(TOO_MUCH_MEMORY) from error
    except DECODER_ERRORS as error:
        raise ImageRefused(DAMAGED) from error
    return image


def _has_frame(image: Image.Image, number: int) -> bool:
    """Whether there is a frame of this number, counted from 0; leaves the image at the first."""
    try:
        image.seek(number)
    except DECODER_ERRORS:
        return False  # EOFError where there is none; a damaged page further on does no harm to the first
    finally:
        image.seek(0)
    return True


def _whole_jpeg(data: bytes) -> None:
    """Raises ValueError for a JPEG whose compressed data end early or are garbled, even where an end marker follows.

    libjpeg only warns of that, and Pillow does not pass it on: it gives grey, or the last colour, for what is missing.
    Decoded in grey at an eighth of its size, which takes a tenth of the time of reading it.
    """
    try:
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, min_factor=1, strict=True)
    except ValueError as error:
        # Padding after the last block, which some cameras write; nothing is missing then.
        if not str(error).endswith("extraneous bytes before marker 0xd9"):
            raise
    # A progressive one whose last scans are missing is merely blurred. Component -> the lowest bit that has come of
    # each of its 64 coefficients (ITU-T T.81, B.2.3).
    lowest: dict[int, list[int]] = {}
    for marker, at, _ in _segments(data):
        if marker in PROGRESSIVE:
            lowest = {data[at + 8 + 3 * i]: [16] * 64 for i in range(data[at + 7])}
        elif marker == SCAN and lowest:
            names = data[at + 3 : at + 3 + 2 * data[at + 2] : 2]
            first, last, bits = data[at + 3 + 2 * len(names) : at + 6 + 2 * len(names)]
            for name in names:
                lowest[name][first : last + 1] = [bits & 15] * (last + 1 - first)
    if any(map(any, lowest.values())):
        raise ValueError("scans are missing")


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Of each segment of a JPEG its marker, where its length stands and how many bytes stand before the marker.

    As libjpeg looks for markers: stuffed zeros and restarts belong to a scan. Ends at the picture's end, since phones
    append whole films, or with a marker 0 where the file ends before.
    """
    marker = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")
    position = 2
    while found := marker.search(data, position):
        yield found[1][0], found.end(), found.start() - position
        if found[1] == b"\xd9":
            return
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    yield 0, len(data), len(data) - position


def _parts(data: bytes) -> tuple[int, int]:
    """(JPEG scans, parts that Pillow handles one by one) of a file, counted at most just past the limits."""
    scans = parts = 0
    if data.startswith(b"\xff\xd8"):
        in_scan = False
        for marker, _, before in _segments(data):
            # Bytes between segments count too, since Pillow steps through them one by one.
            parts += 1 if in_scan else 1 + before
            in_scan = marker == SCAN
            scans += in_scan
            if max(scans, parts) > MAX_PARTS:
                break
    elif data.startswith(b"\x89PNG"):
        position = 8
        while position < len(data) and parts <= MAX_PARTS:
            # Each colour profile is unpacked, to 1 MB at most; a picture has one.
            parts += 1000 if data[position + 4 : position + 8] == b"iCCP" else 1
            position += 12 + int.from_bytes(data[position : position + 4])
    elif data.startswith(tuple(TiffImagePlugin.PREFIXES)):
        directory = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if 43 in data[2:4] else 8])
        stream = BytesIO(data)
        stream.seek(directory.next)
        directory.load(stream)
        offsets = (directory.get(TiffImagePlugin.STRIPOFFSETS), directory.get(TiffImagePlugin.TILEOFFSETS))
        parts = max((len(tag) for tag in offsets if isinstance(tag, tuple | bytes)), default=0)
        # A tile is decoded whole, however little of it the picture covers: it counts as pixels do.
        sides = directory.get(TiffImagePlugin.TILEWIDTH), directory.get(TiffImagePlugin.TILELENGTH)
        if isinstance(sides[0], int) and isinstance(sides[1], int) and sides[0] * sides[1] > MAX_PIXELS:
            parts = MAX_PARTS + 1
    return scans, parts


def _as_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """8-bit RGB of any mode the five formats can have."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        return _from_deep_grey(image, notes)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() == (255, 255):
            return rgba.convert("RGB")
        # Black, as around an ultrasound field and in a dermatoscope's corners; white would add light that never was.
        notes.append("Transparent parts were filled with black.")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba).convert("RGB")
    if image.mode == "CMYK":
        notes.append("Converted from print colours (CMYK) to RGB; colours may differ slightly.")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image, notes: list[str]) -> Image.Image:
    """Grey of more than 8 bits, scaled by the smallest usual depth that holds its brightest pixel.

    Scanners write 10, 12 or 14 bits into 16: divided by 65,535 such a picture would be nearly black. The fixed steps
    keep the brightness of a series comparable, which stretching each picture to its own maximum would not.
    """
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 65535 and (image.mode != "F" or np.array_equal(values, np.rint(values)))):
        raise ImageRefused(f"This picture has 32-bit values that are not brightnesses from 0 to 65535; {_EXPORT}")
    bits = next(bits for bits in (8, 10, 12, 14, 16) if high < 2**bits)
    top = np.float32(2**bits - 1)
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
        values = top - values  # white is zero; Pillow inverts 8 bits but not 16 or 32
    notes.append(f"Deep grey picture ({bits} bits used) scaled to 8 bits.")
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8)).convert("RGB")


def _upright(rgb: Image.Image, source: Image.Image, notes: list[str]) -> Image.Image:
    try:
        orientation = source.getexif().get(ExifTags.Base.Orientation, 1)
    except DECODER_ERRORS:
        notes.append("Its orientation could not be read; the picture is shown as stored.")
        return rgb
    turn = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return rgb if turn is None else rgb.transpose(turn)


def region_of_interest(image: Image.Image) -> tuple[int, int, int, int]:
    """Box (left, upper, right, lower), in pixels, of the scanned ultrasound field: black or white margins trimmed off.

    Header lines, depth ticks and grey bars go with the margin that sets them apart. The whole picture where that would
    leave less than MIN_REGION of either side. Deterministic.
    """
    factor = max(1, -(-max(image.size) // PROFILE_SIDE))
    grey = np.asarray(image.convert("L").reduce(factor))
    border = np.concatenate((grey[0], grey[-1], grey[:, 0], grey[:, -1]))
    field = grey < WHITE if np.median(border) >= WHITE else grey > NOT_BLACK

    height, width = grey.shape
    left, upper, right, lower = 0, 0, width, height
    # Each axis is judged within the other's extent, so that wide margins do not dilute the profile: settles in two.
    for _ in range(3):
        left, right = _extent(field[upper:lower].mean(axis=0))
        upper, lower = _extent(field[:, left:right].mean(axis=1))
    if right - left < MIN_REGION * width or lower - upper < MIN_REGION * height:
        return 0, 0, image.width, image.height
    return left * factor, upper * factor, min(right * factor, image.width), min(lower * factor, image.height)


def _extent(profile: np.ndarray) -> tuple[int, int]:
    """[start, stop) from the first to the last broad band of a profile; all of it where there is none.

    All broad bands, not the broadest: a large cyst is as black as a margin and splits the field.
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([False], profile >= FIELD_SHARE, [False])).astype(np.int8)))
    bands: list[tuple[int, int]] = []
    for start, stop in edges.reshape(-1, 2).tolist():
        if bands and start - bands[-1][1] <= MAX_GAP * len(profile):
            bands[-1] = bands[-1][0], stop
        else:
            bands.append((start, stop))
    broad = [(start, stop) for start, stop in bands if stop - start >= FURNITURE * len(profile)]
    return (broad[0][0], broad[-1][1]) if broad else (0, len(profile))
