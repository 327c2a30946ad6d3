"""A parsed DICOM file -> the values of one of its frames, of any transfer syntax.

All limits are checked before anything is decoded: width, height, number of frames, and bytes that the file must have.
Frames are decoded one at a time.
"""

from functools import cached_property
from typing import Final

from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from src.pictures.dicom_codecs import CODECS, CUT_OFF, Shape, Values, decoded
from src.pictures.dicom_file import DicomFile
from src.pictures.limits import MAX_CINE_FRAMES, MAX_PARTS
from src.pictures.picture import ImageRefused
from src.pictures.reasons import EXPORT, TOO_MANY_PARTS
from src.pictures.size import check_size

COLOURS: Final = {
    **dict.fromkeys(("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"), 1),
    **dict.fromkeys(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"), 3),
}
"""The kinds of colour that are read (Photometric Interpretation) -> the number of values per pixel."""
NATIVE: Final = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
"""The transfer syntaxes without compressed frames: implicit and explicit VR, deflated, big endian."""
FILMS: Final = "1.2.840.10008.1.2.4.10"
"""The start of the transfer syntaxes of MPEG and HEVC."""
ITEM: Final = b"\xfe\xff\x00\xe0"

NO_PIXELS: Final = "This DICOM file holds no image (no pixel data)."
MISSING: Final = "This DICOM file does not state the size of its image ({})."
FILM: Final = f"This DICOM file holds a compressed film (MPEG or HEVC); {EXPORT}"
COMPRESSION: Final = f"This DICOM file has a compression that is not supported; {EXPORT}"
COLOUR: Final = f"This DICOM file stores its colours in a way that is not supported; {EXPORT}"
VALUES: Final = f"This DICOM file stores its values in a form that is not supported; {EXPORT}"
TOO_MANY: Final = f"This DICOM file has more than {MAX_CINE_FRAMES:,} frames; export a part of them."


class Frames:
    """The frames of a file, counted from 0. Raises ImageRefused at once for a file that cannot be read."""

    def __init__(self, file: DicomFile) -> None:
        self.file = file
        self.shape = _shape(file)
        self.count = file.number("NumberOfFrames", 1) or 1
        if not 1 <= self.count <= MAX_CINE_FRAMES:
            raise ImageRefused(TOO_MANY)
        self._native = file.syntax in NATIVE
        if self._native and self._size * self.count > len(self._value):
            raise ImageRefused(CUT_OFF)

    def read(self, index: int) -> Values:
        """The values of one frame. Raises ImageRefused, or one of DECODER_ERRORS for malformed data."""
        if self._native:
            return self._native_frame(index)
        return decoded(self.file.syntax, self._compressed(index), self.shape)

    @property
    def _value(self) -> memoryview:
        if self.file.pixels is None:
            raise ImageRefused(NO_PIXELS)
        return self.file.pixels[: self.file.length]

    @cached_property
    def _size(self) -> int:
        """The bytes of an uncompressed frame."""
        rows, columns, samples, allocated, *_, photometric = self.shape
        if photometric == "YBR_FULL_422":
            return rows * columns * 2 * allocated // 8
        return -(-rows * columns * samples * allocated // 8)

    def _native_frame(self, index: int) -> Values:
        file, shape = self.file, self.shape
        array, _ = get_decoder(UID(file.syntax)).as_array(
            self._value,
            index=index,
            raw=True,
            rows=shape.rows,
            columns=shape.columns,
            samples_per_pixel=shape.samples,
            number_of_frames=self.count,
            photometric_interpretation=shape.photometric,
            planar_configuration=file.number("PlanarConfiguration", 0),
            bits_allocated=shape.allocated,
            bits_stored=shape.stored,
            pixel_representation=int(shape.signed),
            pixel_keyword="PixelData",
            pixel_vr=file.vr or "OW",
        )
        return Values(array, "YBR_FULL" if shape.photometric == "YBR_FULL_422" else shape.photometric)

    def _compressed(self, index: int) -> bytes:
        value, fragments = self._value, self._fragments
        if len(fragments) == self.count:
            return bytes(value[fragments[index]])
        if self.count == 1:
            return b"".join(value[fragment] for fragment in fragments)
        # Frames of several fragments are told apart by a table of offsets, or by the ends of their streams.
        return get_frame(bytes(value), index, number_of_frames=self.count)

    @cached_property
    def _fragments(self) -> list[slice]:
        """Where the fragments lie in the value, without the table of offsets, which is the first item."""
        value, at, found = self._value, 0, list[slice]()
        while value[at : at + 4] == ITEM:
            end = at + 8 + int.from_bytes(value[at + 4 : at + 8], "little")
            found.append(slice(at + 8, end))
            at = end
            if len(found) > MAX_PARTS + self.count:
                raise ImageRefused(TOO_MANY_PARTS)
        if at > len(value) or len(found) < 2:
            raise ImageRefused(CUT_OFF)
        return found[1:]


def _shape(file: DicomFile) -> Shape:
    """What the file states of its frames. Raises ImageRefused for a kind that is not read."""
    if file.pixels is None:
        raise ImageRefused(NO_PIXELS)
    for keyword in ("Rows", "Columns", "BitsAllocated"):
        if not file.get(keyword):
            raise ImageRefused(MISSING.format(keyword))
    rows, columns, allocated = (file.number(keyword, 0) for keyword in ("Rows", "Columns", "BitsAllocated"))
    check_size(columns, rows)
    if file.syntax.startswith(FILMS):
        raise ImageRefused(FILM)
    if file.syntax not in NATIVE and file.syntax not in CODECS:
        raise ImageRefused(COMPRESSION)
    samples = file.number("SamplesPerPixel", 1)
    photometric = str(file.get("PhotometricInterpretation", "MONOCHROME2" if samples == 1 else "RGB"))
    if COLOURS.get(photometric) != samples:
        raise ImageRefused(COLOUR)
    stored = file.number("BitsStored", allocated)
    if file.floats or allocated not in (1, 8, 16, 32) or not 1 <= stored <= allocated:
        raise ImageRefused(VALUES)
    if (samples > 1 or file.syntax in CODECS) and allocated not in (8, 16):
        raise ImageRefused(VALUES)
    return Shape(rows, columns, samples, allocated, stored, file.number("PixelRepresentation", 0) == 1, photometric)
