"""HEIC, decoded by libheif in pillow-heif, and AVIF, decoded by libavif in Pillow. Both are files of boxes (ISO
14496-12).
"""

import struct
from io import BytesIO

import pillow_heif
from PIL import AvifImagePlugin, Image
from pillow_heif.as_plugin import HeifImageFile

from src.pictures.pillow_frame import checked, loaded, opened
from src.pictures.profiles import CodePoints

# One thread, because each would reserve address space, which a worker process has little of. The cores are shared, too.
pillow_heif.options.DECODE_THREADS = 1
pillow_heif.options.THUMBNAILS = False
pillow_heif.options.DEPTH_IMAGES = False
pillow_heif.options.AUX_IMAGES = False
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
AVIF_BRANDS = (b"avif", b"avis")


def brands(data: bytes) -> list[bytes]:
    """The major and the compatible brands of a file of boxes; empty for any other file."""
    if data[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(data[:4]), 256)
    return [data[8:12], *(data[at : at + 4] for at in range(16, end, 4))]


def is_avif(data: bytes) -> bool:
    """Whether a file is AVIF, which may call itself mif1 first."""
    return any(brand in AVIF_BRANDS for brand in brands(data))


def is_heic(data: bytes) -> bool:
    """Whether a file is HEIC or another HEIF that libheif reads."""
    return not is_avif(data) and any(brand in HEIC_BRANDS for brand in brands(data))


def heic_frame(data: bytes, notes: list[str]) -> Image.Image:
    """The primary picture of a HEIC file. Adds sentences to `notes`; raises ImageRefused."""
    frame = loaded(checked(lambda: HeifImageFile(BytesIO(data)), notes))
    points = frame.info.get("nclx_profile")
    if points and "icc_profile" not in frame.info:
        frame.info["code_points"] = CodePoints(points["color_primaries"], points["transfer_characteristics"])
    return frame


def avif_frame(data: bytes, notes: list[str]) -> Image.Image:
    """The picture of an AVIF file. Adds sentences to `notes`; raises ImageRefused."""
    frame = loaded(opened(data, "AVIF", notes))
    # Pillow passes on the profile but not the code points that stand for one.
    at = data.find(b"colrnclx")
    if at >= 0 and "icc_profile" not in frame.info and at + 12 <= len(data):
        frame.info["code_points"] = CodePoints(*struct.unpack_from(">HH", data, at + 8))
    return frame
