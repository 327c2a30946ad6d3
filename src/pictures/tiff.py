"""TIFF, decoded by tifffile and imagecodecs: the page that is the picture, and its values.

Pillow is not used, because it cuts colours to 8 bits and lacks big-endian BigTIFF and many codecs.
"""

import logging
import re
from io import BytesIO
from typing import Final

import numpy as np
from PIL import ExifTags, Image
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffPage

from src.pictures import depth, resolution
from src.pictures.decoder_errors import refused_if_damaged
from src.pictures.limits import MAX_FRAMES, MAX_PIXELS
from src.pictures.picture import ImageRefused
from src.pictures.pillow_frame import FIRST_ONLY
from src.pictures.reasons import DAMAGED, EXPORT, RAW, TOO_MANY_FRAMES, TOO_MANY_PARTS
from src.pictures.size import check_size
from src.pictures.tiff_directories import count_pages, count_parts
from src.pictures.tiff_segments import check_complete, check_stated_size

__all__ = ["PREFIXES", "count_parts", "first_frame"]

PREFIXES: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

logging.getLogger("tifffile").disabled = True  # its warnings quote the file, which must not be logged

COMPRESSIONS: Final = {
    *(COMPRESSION.NONE, COMPRESSION.CCITTRLE, COMPRESSION.CCITT_T4, COMPRESSION.CCITT_T6, COMPRESSION.LZW),
    *(COMPRESSION.JPEG, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE, COMPRESSION.PACKBITS, COMPRESSION.PIXTIFF),
    *(COMPRESSION.LZMA, COMPRESSION.ZSTD, COMPRESSION.LERC, COMPRESSION.WEBP, COMPRESSION.JPEG2000),
    *(COMPRESSION.APERIO_JP2000_YCBC, COMPRESSION.APERIO_JP2000_RGB),
}
"""The compression methods that are read. Others are refused by name."""
COLOURS: Final[dict[int, int]] = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.SEPARATED: 4,
    PHOTOMETRIC.YCBCR: 3,
    PHOTOMETRIC.CIELAB: 3,
}
"""The kinds of colour that are read (PhotometricInterpretation) -> the number of values per pixel."""
RAW_TAGS: Final = (50706, 50740, 37398)  # DNGVersion, DNGPrivateData, TIFFEPStandardID
REDUCED, MASK = 1, 4  # bits of NewSubfileType
SAME_ASPECT = 0.02
PREMULTIPLIED, TRANSPARENCY = 1, 2  # ExtraSamples

REDUCED_FIRST = "The file holds the image in several sizes; the largest was read."
PLANES = "The image's red, green and blue were put together from three planes of the file."
CHANNELS = (
    "This TIFF stores {} channels and does not say that they are red, green and blue; merge them to colour and "
    + EXPORT
)


def first_frame(data: bytes, notes: list[str]) -> Image.Image:
    """The picture, 8 bits per channel: the first page that is no thumbnail, or several planes of one picture.

    Adds sentences to `notes`; raises ImageRefused.
    """
    with refused_if_damaged():
        number = count_pages(data)
        file = TiffFile(BytesIO(data), is_lsm=False, is_scanimage=False, is_ndpi=False)
        pages = _pages(file, number)
    if any(tag in pages[0].tags for tag in RAW_TAGS) or any(
        page.photometric in (PHOTOMETRIC.CFA, PHOTOMETRIC.LINEAR_RAW) for page in pages
    ):
        raise ImageRefused(RAW)
    if number > MAX_FRAMES:
        raise ImageRefused(TOO_MANY_FRAMES)
    with refused_if_damaged():
        planes = _planes(pages, notes)
        page = planes[0]
        colours = _check(page)
        values = np.concatenate([_values(plane, data) for plane in planes], axis=2)
        image = _image(page, values, max(colours, len(planes)), notes)
        size = resolution.of_tiff(page, pages[0])
    if size is not None:
        image.info[resolution.KEY] = size
    return image


def _pages(file: TiffFile, number: int) -> list[TiffPage]:
    """The pages, and after them those that the first one keeps in its SubIFDs."""
    first = file.pages.first
    pages = [first]
    for i in range(1, min(number, MAX_FRAMES)):
        page = file.pages[i]
        if isinstance(page, TiffPage):
            pages.append(page)
    inner = first.pages
    pages += [page for page in (inner[:MAX_FRAMES] if inner else ()) if isinstance(page, TiffPage)]
    return pages


def _planes(pages: list[TiffPage], notes: list[str]) -> list[TiffPage]:
    """The page of the picture, or its three pages for red, green and blue."""
    whole = [page for page in pages if not int(page.subfiletype) & (REDUCED | MASK)] or pages
    first = whole[0]
    channels, stride = _channels(first)
    if channels > 1 and first.samplesperpixel == 1:
        planes = whole[: channels * stride : stride]
        alike = all(plane.shape == first.shape and plane.dtype == first.dtype for plane in planes)
        if channels != 3 or len(planes) != 3 or not alike or "EmissionWavelength" in first.description:
            raise ImageRefused(CHANNELS.format(channels))
        notes.append(PLANES)
        if len(whole) > 3:
            notes.append(FIRST_ONLY)
        return planes
    same = [page for page in whole if _same_aspect(page, first)]
    largest = max(same, key=lambda page: page.imagewidth)  # the first of several that are equally large
    if largest is not pages[0]:
        notes.append(REDUCED_FIRST)
    elif len(whole) > 1:
        notes.append(FIRST_ONLY)
    return [largest]


def _same_aspect(page: TiffPage, other: TiffPage) -> bool:
    one, two = page.imagewidth * other.imagelength, other.imagewidth * page.imagelength
    return abs(one - two) <= SAME_ASPECT * max(one, two)


def _channels(page: TiffPage) -> tuple[int, int]:
    """The number of channels that the file stores as pages, and the pages from one channel to the next; (1, 1) by
    default.
    """
    if page.is_imagej:
        found = re.search(r"^channels=(\d{1,4})$", page.description, re.MULTILINE)
        return (int(found[1]) if found else 1), 1
    if not page.is_ome:
        return 1, 1
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", page.description)
    stated = dict(re.findall(r'\b(\w+)="(\w{1,8})"', pixels[0])) if pixels else {}
    before = stated.get("DimensionOrder", "XYCZT").partition("C")[0].removeprefix("XY")
    stride = 1
    for axis in before:
        stride *= int(stated.get(f"Size{axis}", "1"))
    return int(stated.get("SizeC", "1")), stride


def _check(page: TiffPage) -> int:
    """The number of values per pixel. Raises ImageRefused for a page that cannot be read."""
    check_size(page.imagewidth, page.imagelength)
    if page.imagedepth != 1 or page.dtype is None:
        raise ImageRefused(f"This TIFF stores its values in a form that is not supported; {EXPORT}")
    if page.compression not in COMPRESSIONS:
        raise ImageRefused(f"This TIFF has a compression that is not supported ({_name(page.compression)}); {EXPORT}")
    colours = COLOURS.get(page.photometric)
    if colours is None or page.samplesperpixel < colours:
        raise ImageRefused(
            f"This TIFF stores its colours in a way that is not supported ({_name(page.photometric)}, "
            f"{page.samplesperpixel} channels); {EXPORT}"
        )
    if page.photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE) and page.samplesperpixel > 2:
        raise ImageRefused(CHANNELS.format(page.samplesperpixel))
    # A tile is decoded whole, even if the picture covers little of it. So its size is limited like the picture's.
    if page.is_tiled and page.tilewidth * page.tilelength > MAX_PIXELS:
        raise ImageRefused(TOO_MANY_PARTS)
    return colours


def _name(value: int) -> str:
    return str(getattr(value, "name", value))


def _values(page: TiffPage, data: bytes) -> np.ndarray:
    """The values of a page, (H, W, samples). Raises EOFError if any are missing; tifffile itself would invent them."""
    _, _, height, width, inner = page.shaped
    values = np.empty(page.shaped, page.dtype)
    if len(page.dataoffsets) != len(page.databytecounts) or len(page.dataoffsets) < np.prod(page.chunked):
        raise EOFError("parts are missing")
    for index, (start, size) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        if size <= 0 or start <= 0 or start + size > len(data):
            raise EOFError("a part is outside the file")
        segment = data[start : start + size]
        check_stated_size(page, index, segment)
        check_complete(page, segment)
        part, (sample, _, upper, left, _), _ = page.decode(
            segment, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader
        )
        if part is None:
            raise EOFError("a part is empty")
        rows, columns = min(part.shape[1], height - upper), min(part.shape[2], width - left)
        values[sample, 0, upper : upper + rows, left : left + columns] = part[0, :rows, :columns, :inner]
    return values[0, 0] if page.planarconfig == 1 or len(values) == 1 else np.moveaxis(values[:, 0, ..., 0], 0, 2)


def _image(page: TiffPage, values: np.ndarray, colours: int, notes: list[str]) -> Image.Image:
    """An image of the values (H, W, samples), with the page's profile and orientation."""
    extra = page.extrasamples[0] if page.extrasamples else 0
    alpha = values.shape[2] > colours and extra in (PREMULTIPLIED, TRANSPARENCY)
    kept = values[..., : colours + alpha]
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 8
    if page.photometric == PHOTOMETRIC.PALETTE:
        image = Image.fromarray(np.ascontiguousarray(kept[..., 0]))
        image = _with_palette(image, page)
    elif page.photometric in (PHOTOMETRIC.SEPARATED, PHOTOMETRIC.CIELAB):
        if kept.dtype.itemsize != 1:
            raise ImageRefused(f"This TIFF stores {bits} bits a channel in print or Lab colours; {EXPORT}")
        mode = "CMYK" if page.photometric == PHOTOMETRIC.SEPARATED else "LAB"
        image = Image.frombytes(mode, kept.shape[1::-1], kept[..., :colours].tobytes(), "raw", mode)
    else:
        if bits < 8 and kept.dtype == np.uint8:
            kept = kept * np.uint8(255 // (2**bits - 1))
        image = depth.image(kept, notes, alpha, page.photometric == PHOTOMETRIC.MINISWHITE)
        if page.photometric == PHOTOMETRIC.YCBCR and page.compression != COMPRESSION.JPEG:
            image = Image.frombytes("YCbCr", image.size, image.convert("RGB").tobytes()).convert("RGB")
        elif alpha and extra == PREMULTIPLIED:
            image = _divided(image)
    # Lab names its colours by itself.
    if isinstance(page.iccprofile, bytes) and page.photometric != PHOTOMETRIC.CIELAB:
        image.info["icc_profile"] = page.iccprofile
    orientation = page.tags.valueof(ExifTags.Base.Orientation)
    if isinstance(orientation, int):
        image.getexif()[ExifTags.Base.Orientation] = orientation
    return image


def _with_palette(image: Image.Image, page: TiffPage) -> Image.Image:
    if image.mode != "L" or page.colormap is None:
        raise ImageRefused(DAMAGED)
    values = np.asarray(page.colormap)[:, :256].T
    # Some programs write 8 bits where the standard has 16; libtiff reads both.
    colours = (values >> 8 if values.max() > 255 else values).astype(np.uint8)
    image.putpalette(colours.tobytes())
    return image


def _divided(image: Image.Image) -> Image.Image:
    """An image (mode LA or RGBA) after its colours, which were multiplied by alpha, are divided by it again."""
    multiplied = Image.frombytes({"LA": "La", "RGBA": "RGBa"}[image.mode], image.size, image.tobytes())
    return multiplied.convert(image.mode)
