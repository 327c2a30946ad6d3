"""The sentences that refuse a file, and the kinds of file that are refused by name."""

import re
from typing import Final

from src.pictures.limits import MAX_FRAMES, MAX_PIXELS

EXPORT: Final = "export it as PNG or JPEG first."

NOT_A_PICTURE: Final = "This file is not an image that can be read (JPEG, PNG, WebP, TIFF, HEIC, DICOM and others)."
DAMAGED: Final = "This file is cut off, damaged or of a rare kind that cannot be read; save it again as PNG or JPEG."
TOO_MUCH_MEMORY: Final = "Reading this image takes more memory than one image may take; make it smaller."
TOO_MANY_FRAMES: Final = (
    f"This file holds more than {MAX_FRAMES} frames or pages; export the one to be read as PNG or JPEG."
)
TOO_MANY_PARTS: Final = "This file has far more parts than an ordinary image; save it again as PNG or JPEG."
TOO_MANY_PIXELS: Final = f"The image has more than {MAX_PIXELS // 10**6} megapixels; make it smaller."
HIGH_DYNAMIC_RANGE: Final = "This is an image of high dynamic range (HDR); export it as an ordinary JPEG or PNG first."
ENCRYPTED: Final = "This file is encrypted, as Secure DICOM files are; decrypt it first."
RAW: Final = "This is a camera's raw file; develop it and export it as JPEG or PNG first."

Signature = tuple[int, bytes]
"""An offset, and the bytes that a file of this kind has there."""

REFUSED_BY_NAME: Final[tuple[tuple[Signature, str], ...]] = (
    ((0, b"GIF8"), f"This is a GIF, whose 256 colours lose detail; {EXPORT}"),
    ((0, b"%PDF"), f"This is a PDF document; {EXPORT}"),
    ((0, b"8BPS"), f"This is a Photoshop file; {EXPORT}"),
    ((0, b"%!PS"), f"This is a PostScript file; {EXPORT}"),
    ((0, b"\xc5\xd0\xd3\xc6"), f"This is a PostScript file; {EXPORT}"),
    ((0, b"\xff\x0a"), f"This is a JPEG XL image; {EXPORT}"),
    ((4, b"JXL \r\n\x87\n"), f"This is a JPEG XL image; {EXPORT}"),
    ((0, b"II\xbc"), f"This is a JPEG XR image; {EXPORT}"),
    ((0, b"v/1\x01"), f"This is an OpenEXR image; {EXPORT}"),
    ((0, b"#?RADIANCE"), f"This is a Radiance HDR image; {EXPORT}"),
    ((0, b"\x93NUMPY"), f"This is a NumPy array; {EXPORT}"),
    ((0, b"\x89HDF\r\n\x1a\n"), f"This is an HDF5 file; {EXPORT}"),
    ((4, b"ftypcrx "), RAW),
    ((8, b"CR\x02"), RAW),
    ((0, b"FUJIFILMCCD-RAW"), RAW),
    ((0, b"IIRO"), RAW),
    ((0, b"IIRS"), RAW),
    ((0, b"MMOR"), RAW),
    ((0, b"IIU\0"), RAW),
    ((0, b"FOVb"), RAW),
    ((0, b"PK\x03\x04"), "This is a ZIP archive; unpack it and give one image."),
    ((0, b"\x1f\x8b"), "This is a gzip archive; unpack it and give one image."),
    ((0, b"7z\xbc\xaf\x27\x1c"), "This is a 7-Zip archive; unpack it and give one image."),
    ((0, b"Rar!\x1a\x07"), "This is a RAR archive; unpack it and give one image."),
    ((0, b"BZh"), "This is a bzip2 archive; unpack it and give one image."),
    ((0, b"\xfd7zXZ\0"), "This is an xz archive; unpack it and give one image."),
    ((257, b"ustar"), "This is a tar archive; unpack it and give one image."),
    ((4, b"ftypqt  "), "This is a film (QuickTime); export one frame as PNG or JPEG."),
    ((4, b"ftypisom"), "This is a film (MP4); export one frame as PNG or JPEG."),
    ((4, b"ftypmp4"), "This is a film (MP4); export one frame as PNG or JPEG."),
)
"""Kinds of file that people often have: the signature, and the sentence that refuses it."""

_SVG: Final = re.compile(rb"(\xef\xbb\xbf)?\s*<(\?xml[^>]*>.{0,1000}<)?svg", re.DOTALL | re.IGNORECASE)

_ENVELOPE: Final = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"
"""The object identifier of enveloped data (RFC 5652), at the start of a Secure DICOM file (PS3.10, 7.4)."""


def refusal_by_name(data: bytes) -> str | None:
    """The sentence that refuses a kind of file people often have, None for any other kind."""
    if data.startswith(b"DICM", 128):
        return None  # the 128 bytes before may be those of any other kind
    if data.startswith(b"\x30") and _ENVELOPE in data[:32]:
        return ENCRYPTED
    for (offset, magic), sentence in REFUSED_BY_NAME:
        if data.startswith(magic, offset):
            return sentence
    return f"This is an SVG drawing; {EXPORT}" if _SVG.match(data[:2000]) else None
