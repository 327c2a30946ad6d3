"""Makes DICOM files of a drawn picture: any photometric interpretation in any transfer syntax, and odd ones."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import imagecodecs
import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence as Items

NATIVE: Final = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)
LOSSY: Final = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K)
SYNTAXES: Final = (
    *NATIVE,
    *LOSSY,
    uid.RLELossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.HTJ2KLossless,
)
ULTRASOUND: Final = "1.2.840.10008.5.1.4.1.1.6.1"
ULTRASOUND_CINE: Final = "1.2.840.10008.5.1.4.1.1.3.1"
COLOURS: Final = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def drawn(width: int = 160, height: int = 128) -> Image.Image:
    """A smooth picture in colour, RGB, with a bright disc, a dark one and an edge."""
    picture = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((width // 8, height // 4, width // 2, height - height // 4), fill=(200, 120, 60))
    draw.ellipse((width // 2, height // 3, width - width // 8, height - 8), fill=(40, 70, 150))
    return picture.filter(ImageFilter.GaussianBlur(2))


def attributes(rows: int, columns: int, samples: int, photometric: str, bits: int = 8, stored: int = 8) -> Dataset:
    """An ultrasound image without pixel data. Its UIDs are always the same."""
    data = Dataset()
    data.SOPClassUID = ULTRASOUND
    data.SOPInstanceUID, data.StudyInstanceUID, data.SeriesInstanceUID = "2.25.1", "2.25.2", "2.25.3"
    data.Modality = "US"
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = rows, columns, samples, photometric
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = bits, stored, stored - 1, 0
    if samples > 1:
        data.PlanarConfiguration = 0
    return data


def file_of(data: Dataset, syntax: str, preamble: bool = True) -> bytes:
    """The bytes of the file, with its meta information."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.UID(syntax)
    meta.MediaStorageSOPClassUID = data.get("SOPClassUID") or ULTRASOUND
    meta.MediaStorageSOPInstanceUID = data.get("SOPInstanceUID") or "2.25.1"
    data.file_meta = meta
    out = io.BytesIO()
    dcmwrite(out, data, enforce_file_format=preamble)
    return out.getvalue()


def of_image(image: Image.Image, photometric: str, syntax: str, quality: int = 95, **others: Any) -> bytes:
    """A DICOM file of an image (mode L or RGB), stored with this photometric interpretation and transfer syntax."""
    return of_frames([image], photometric, syntax, quality, **others)


def of_frames(images: Sequence[Image.Image], photometric: str, syntax: str, quality: int = 95, **others: Any) -> bytes:
    """A DICOM file of several images of one size; `others` are further attributes."""
    arrays = [_stored(image, photometric) for image in images]
    samples = 1 if arrays[0].ndim == 2 else 3
    data = attributes(images[0].height, images[0].width, samples, photometric)
    if len(images) > 1:
        data.SOPClassUID, data.NumberOfFrames = ULTRASOUND_CINE, len(images)
    if photometric == "PALETTE COLOR":
        _put_palette(data)
    for keyword, value in others.items():
        setattr(data, keyword, value)
    planar = samples == 3 and int(data.PlanarConfiguration) == 1
    put_pixels(data, syntax, arrays, quality, planar)
    return file_of(data, syntax)


def put_pixels(
    data: Dataset, syntax: str, arrays: Sequence[np.ndarray], quality: int = 95, planar: bool = False
) -> None:
    """Store the frames in a data set, compressed as its transfer syntax demands."""
    if syntax in NATIVE:
        values = b"".join(_native(array, data.PhotometricInterpretation, planar, syntax) for array in arrays)
        data.PixelData = values + b"\0" * (len(values) % 2)
        if syntax == uid.ExplicitVRBigEndian and arrays[0].itemsize == 1:
            data["PixelData"].VR = "OB"
    else:
        data.PixelData = encapsulate([_compressed(array, syntax, quality, data) for array in arrays])
    data["PixelData"].VR = "OW" if arrays[0].itemsize == 2 and syntax in NATIVE else "OB"


def region(left: int, upper: int, right: int, lower: int, **others: Any) -> Dataset:
    """An item of the Sequence of Ultrasound Regions: 2D tissue, 0.1 mm a pixel. `right` and `lower` are exclusive."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, upper
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right - 1, lower - 1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX = item.PhysicalDeltaY = 0.01
    for keyword, value in others.items():
        setattr(item, keyword, value)
    return item


def regions(*items: Dataset) -> Items:
    """A Sequence of Ultrasound Regions."""
    return Items(items)


def _stored(image: Image.Image, photometric: str) -> np.ndarray:
    """The values that a file of this photometric interpretation stores, before subsampling and transforms of codecs."""
    if photometric in ("MONOCHROME2", "PALETTE COLOR"):
        return np.asarray(image.convert("L"))
    if photometric == "MONOCHROME1":
        return 255 - np.asarray(image.convert("L"))
    return np.asarray(image.convert("YCbCr" if photometric in ("YBR_FULL", "YBR_FULL_422") else "RGB"))


def _put_palette(data: Dataset) -> None:
    """A palette of 256 greys of 16 bits, so that the image looks as it did in grey."""
    ramp = (np.arange(256, dtype=np.uint16) * 257).astype("<u2").tobytes()
    for colour in ("Red", "Green", "Blue"):
        setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(data, f"{colour}PaletteColorLookupTableData", ramp)


def _native(array: np.ndarray, photometric: str, planar: bool, syntax: str) -> bytes:
    if photometric == "YBR_FULL_422":
        pairs = array.reshape(array.shape[0], -1, 2, 3)
        return np.concatenate((pairs[..., 0], pairs[:, :, :1, 1], pairs[:, :, :1, 2]), axis=2).tobytes()
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    values = array.astype(f"{order}{array.dtype.kind}{array.itemsize}")
    return (np.moveaxis(values, 2, 0) if planar else values).tobytes()


def _jpeg(array: np.ndarray, quality: int, data: Dataset) -> bytes:
    if array.ndim == 2 or data.PhotometricInterpretation == "RGB":
        return imagecodecs.jpeg8_encode(array, quality, **(_AS_IT_IS if array.ndim == 3 else {}))
    subsampling = "422" if data.PhotometricInterpretation == "YBR_FULL_422" else "444"
    return imagecodecs.jpeg8_encode(
        np.ascontiguousarray(array), quality, colorspace="ycbcr", outcolorspace="ycbcr", subsampling=subsampling
    )


def _lossless_jpeg(array: np.ndarray, predictor: int) -> bytes:
    colours = _AS_IT_IS if array.ndim == 3 else {}
    return imagecodecs.jpeg8_encode(
        array, lossless=True, predictor=predictor, bitspersample=None if array.itemsize == 1 else 16, **colours
    )


def _run_lengths(array: np.ndarray) -> bytes:
    """RLE (PS3.5, annex G), with literal runs and replicate runs."""
    segments = []
    for plane in np.moveaxis(np.atleast_3d(array), 2, 0):
        values = plane.astype(f">u{plane.itemsize}").reshape(-1).view(np.uint8).reshape(-1, plane.itemsize)
        for byte in range(plane.itemsize):
            segments.append(_packed(values[:, byte].tobytes()))
    offsets, at = [], 64
    for segment in segments:
        offsets.append(at)
        at += len(segment)
    header = np.array([len(segments), *offsets, *[0] * (15 - len(offsets))], "<u4").tobytes()
    return header + b"".join(segments)


def _packed(values: bytes) -> bytes:
    packed, at = bytearray(), 0
    while at < len(values):
        run = 1
        while run < 128 and values[at : at + 1] == values[at + run : at + run + 1]:
            run += 1
        if run > 2:
            packed += bytes((257 - run, values[at]))
            at += run
        else:
            literal = values[at : at + 64]
            packed += bytes((len(literal) - 1,)) + literal
            at += len(literal)
    return bytes(packed + b"\0" * (len(packed) % 2))


_AS_IT_IS: Final[Mapping[str, Any]] = {"colorspace": "rgb", "outcolorspace": "rgb"}

ENCODERS: Final[Mapping[str, Callable[[np.ndarray, int, Dataset], bytes]]] = {
    uid.JPEGBaseline8Bit: _jpeg,
    uid.JPEGExtended12Bit: _jpeg,
    uid.JPEGLossless: lambda array, _, __: _lossless_jpeg(array, 6),
    uid.JPEGLosslessSV1: lambda array, _, __: _lossless_jpeg(array, 1),
    uid.JPEGLSLossless: lambda array, _, __: imagecodecs.jpegls_encode(array),
    uid.JPEGLSNearLossless: lambda array, _, __: imagecodecs.jpegls_encode(array, 1),
    uid.JPEG2000Lossless: lambda array, _, data: _jpeg2000(array, data, True),
    uid.JPEG2000: lambda array, _, data: _jpeg2000(array, data, False),
    uid.HTJ2KLossless: lambda array, _, data: _htj2k(array, data, True),
    uid.HTJ2K: lambda array, _, data: _htj2k(array, data, False),
    uid.RLELossless: lambda array, _, __: _run_lengths(array),
}


def _jpeg2000(array: np.ndarray, data: Dataset, reversible: bool) -> bytes:
    transform = data.PhotometricInterpretation in ("YBR_ICT", "YBR_RCT")
    return imagecodecs.jpeg2k_encode(
        array, 0 if reversible else 60, codecformat="j2k", reversible=reversible, mct=transform
    )


def _htj2k(array: np.ndarray, data: Dataset, reversible: bool) -> bytes:
    transform = data.PhotometricInterpretation in ("YBR_ICT", "YBR_RCT")
    return imagecodecs.htj2k_encode(array, None if reversible else 0.002, rgb=transform, reversible=reversible)


def _compressed(array: np.ndarray, syntax: str, quality: int, data: Dataset) -> bytes:
    return ENCODERS[syntax](np.ascontiguousarray(array), quality, data)
