"""A DICOM slide of one level, written tag by tag: a VL Whole Slide Microscopy image in JPEG tiles, TILED_FULL."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
import simplejpeg
from pydicom.dataset import Dataset

WSI: Final = "1.2.840.10008.5.1.4.1.1.77.1.6"
JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
ROOT_UID: Final = "2.25.1234567890"
TILE: Final = 256
LONG: Final = (b"OB", b"SQ", b"UN")
"""The types whose length has four bytes."""


def _element(tag: int, kind: bytes, value: bytes) -> bytes:
    value += (b" " if kind not in (b"UI", b"OB", b"SQ") else b"\0") * (len(value) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind
    if kind in LONG:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def _text(tag: int, kind: bytes, value: str) -> bytes:
    return _element(tag, kind, value.encode())


def _short(tag: int, value: int) -> bytes:
    return _element(tag, b"US", struct.pack("<H", value))


def _long(tag: int, value: int) -> bytes:
    return _element(tag, b"UL", struct.pack("<I", value))


def _sequence(tag: int, *items: bytes) -> bytes:
    content = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
    return _element(tag, b"SQ", content)


def _pixel_data(frames: Sequence[bytes]) -> bytes:
    out = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    for frame in frames:
        frame += b"\0" * (len(frame) % 2)
        out += struct.pack("<HHI", 0xFFFE, 0xE000, len(frame)) + frame
    return out + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def write(file: Path, pixels: np.ndarray, mpp: float, photometric: str, jpeg_colours: str = "YCbCr") -> Path:
    """A slide of `pixels`, uint8 (H, W, 3), whose sides are multiples of TILE; returns `file`.

    `photometric`: what the header says. `jpeg_colours`: what the JPEG data are in, "YCbCr" or "RGB".
    """
    height, width = pixels.shape[:2]
    frames = []
    for y in range(0, height, TILE):
        for x in range(0, width, TILE):
            tile = np.ascontiguousarray(pixels[y : y + TILE, x : x + TILE])
            if jpeg_colours == "RGB":
                frames.append(_rgb_jpeg(tile))
            else:
                frames.append(simplejpeg.encode_jpeg(tile, quality=95, colorspace="RGB", colorsubsampling="444"))
    spacing = f"{mpp / 1000:.8f}"
    measures = _sequence(
        0x00289110, _text(0x00180050, b"DS", "0.001") + _text(0x00280030, b"DS", f"{spacing}\\{spacing}")
    )
    body = b"".join(
        (
            _text(0x00080008, b"CS", "ORIGINAL\\PRIMARY\\VOLUME\\NONE"),
            _text(0x00080016, b"UI", WSI),
            _text(0x00080018, b"UI", f"{ROOT_UID}.1"),
            _text(0x00080060, b"CS", "SM"),
            _text(0x0020000D, b"UI", f"{ROOT_UID}.2"),
            _text(0x0020000E, b"UI", f"{ROOT_UID}.3"),
            _text(0x00209311, b"CS", "TILED_FULL"),
            _short(0x00280002, 3),
            _text(0x00280004, b"CS", photometric),
            _short(0x00280006, 0),
            _text(0x00280008, b"IS", str(len(frames))),
            _short(0x00280010, TILE),
            _short(0x00280011, TILE),
            _short(0x00280100, 8),
            _short(0x00280101, 8),
            _short(0x00280102, 7),
            _short(0x00280103, 0),
            _long(0x00480006, width),
            _long(0x00480007, height),
            _long(0x00480302, 1),
            _sequence(0x52009229, measures),
            _pixel_data(frames),
        )
    )
    meta = b"".join(
        (
            _element(0x00020001, b"OB", b"\0\1"),
            _text(0x00020002, b"UI", WSI),
            _text(0x00020003, b"UI", f"{ROOT_UID}.1"),
            _text(0x00020010, b"UI", JPEG_BASELINE),
            _text(0x00020012, b"UI", f"{ROOT_UID}.4"),
        )
    )
    file.write_bytes(b"\0" * 128 + b"DICM" + _long(0x00020000, len(meta)) + meta + body)
    return file


def describe(file: Path, **attributes: Any) -> Path:
    """Write further attributes into a slide; returns `file`."""
    data = pydicom.dcmread(file)
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    data.save_as(file)
    return file


def item(**attributes: Any) -> Dataset:
    """An item of a sequence."""
    found = Dataset()
    found.update(attributes)
    return found


def _rgb_jpeg(tile: np.ndarray) -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(tile).save(out, "JPEG", quality=95, subsampling=0, keep_rgb=True)
    return out.getvalue()
