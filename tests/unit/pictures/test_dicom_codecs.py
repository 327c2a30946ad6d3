"""Compressed frames of DICOM: the colours of a JPEG by its marks, and the scans of a JPEG-LS."""

import time

import imagecodecs
import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from src.pictures import decode, dicom_codecs
from src.pictures.picture import ImageRefused
from tests.support import dicom_files as made


def adobe(transform: int | None) -> bytes:
    """An Adobe segment. Some writers leave out its last fields, of which one is the transform of the colours."""
    fields = b"Adobe\0d\0\0\0" + (b"" if transform is None else bytes((0, transform)))
    return b"\xff\xee" + (len(fields) + 2).to_bytes(2) + fields


JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"


@pytest.mark.parametrize(
    ("marks", "subsampling", "names", "photometric", "ycbcr"),
    [
        (b"", "444", b"\1\2\3", "RGB", False),
        (b"", "444", b"\1\2\3", "YBR_FULL", True),
        (b"", "444", b"RGB", "YBR_FULL", False),
        (b"", "420", b"\1\2\3", "RGB", True),
        (JFIF, "444", b"\1\2\3", "RGB", True),
        (adobe(0), "444", b"\1\2\3", "YBR_FULL", False),
        (adobe(1), "444", b"\1\2\3", "RGB", True),
        (JFIF + adobe(0), "444", b"\1\2\3", "RGB", True),
        (adobe(None), "444", b"\0\1\2", "RGB", False),
        (adobe(None), "444", b"\0\1\2", "YBR_FULL", True),
    ],
)
def test_the_marks_of_a_jpeg_say_its_colours(
    marks: bytes, subsampling: str, names: bytes, photometric: str, ycbcr: bool
) -> None:
    """Some writers say RGB over frames of YCbCr. Only a stream without marks leaves the answer to the DICOM file."""
    picture = made.drawn()
    stored = np.asarray(picture.convert("YCbCr") if ycbcr else picture)
    frame = bytearray(
        imagecodecs.jpeg8_encode(stored, 95, colorspace="ycbcr", outcolorspace="ycbcr", subsampling=subsampling)
    )
    tables, start, scan = (frame.index(marker) for marker in (b"\xff\xdb", b"\xff\xc0", b"\xff\xda"))
    for index, name in enumerate(names):
        frame[start + 10 + 3 * index] = frame[scan + 5 + 2 * index] = name
    data = made.attributes(128, 160, 3, photometric)
    data.PixelData = encapsulate([bytes(frame[:2] + marks + frame[tables:])])
    data["PixelData"].VR = "OB"
    read = np.asarray(decode.read(made.file_of(data, uid.JPEGBaseline8Bit), "black").image)
    difference = np.abs(read.astype(int) - np.asarray(picture))
    assert difference.mean() <= 2


@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEGLSNearLossless])
def test_a_jpeg_ls_whose_scan_ends_early_takes_no_time(syntax: str) -> None:
    """CharLS counts to 2^31 where a scan ends within a code, which takes 3 s."""
    shape = dicom_codecs.Shape(72, 96, 1, 8, 8, False, "MONOCHROME2")
    grey = 255 - np.asarray(made.drawn(96, 72).convert("L"))
    frame = bytes(imagecodecs.jpegls_encode(grey, 0 if syntax == uid.JPEGLSLossless else 1))
    assert np.abs(dicom_codecs.decoded(syntax, frame, shape).array.astype(int) - grey).max() <= 1
    began = time.process_time()
    for end in range(len(frame) - 40, len(frame) - 2):
        for tail in (b"", b"\xff\xd9", b"\xff\xff\xff\xd9"):
            with pytest.raises((ImageRefused, imagecodecs.JpeglsError)):
                dicom_codecs.decoded(syntax, frame[:end] + tail, shape)
    assert time.process_time() - began < 2


def test_a_jpeg_ls_of_a_scan_for_each_colour() -> None:
    """Each scan is checked alone, and all of them make the image."""
    colours = np.asarray(made.drawn())
    head = b"\xff\xd8\xff\xf7\0\x11\x08\0\x80\0\xa0\3\1\x11\0\2\x11\0\3\x11\0"
    scans = b""
    for name in range(3):
        alone = bytes(imagecodecs.jpegls_encode(np.ascontiguousarray(colours[..., name])))
        scan = alone[alone.index(b"\xff\xda") : -2]
        scans += scan[:5] + bytes((name + 1,)) + scan[6:]
    shape = dicom_codecs.Shape(128, 160, 3, 8, 8, False, "RGB")
    values = dicom_codecs.decoded(uid.JPEGLSLossless, head + scans + b"\xff\xd9", shape)
    assert (values.array == colours).all()
