"""DICOM is read as a viewer shows it, in every transfer syntax and with every photometric interpretation."""

import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from src.pictures import decode, dicom, dicom_codecs, dicom_file, dicom_regions, reasons
from src.pictures.dicom import Cine
from src.pictures.dicom_display import BAD_WINDOW
from src.pictures.limits import MAX_PIXELS
from src.pictures.picture import ImageRefused
from tests.support import dicom_files as made

NATIVE = uid.ExplicitVRLittleEndian
GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")


def combinations() -> Iterator[tuple[str, str]]:
    """Every photometric interpretation with every transfer syntax that may hold it (PS3.5, 8.2)."""
    for syntax in made.SYNTAXES:
        lossless_jpeg = syntax in (uid.JPEGLossless, uid.JPEGLosslessSV1)
        j2k = syntax in (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2K, uid.HTJ2KLossless)
        for photometric in (*GREY, *made.COLOURS):
            if photometric == "PALETTE COLOR" and syntax in made.LOSSY:
                continue
            if photometric in ("YBR_ICT", "YBR_RCT") and not j2k:
                continue
            reversible = syntax not in made.LOSSY
            if (photometric == "YBR_ICT" and reversible) or (photometric == "YBR_RCT" and not reversible):
                continue
            baseline = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
            if photometric == "YBR_FULL_422" and syntax not in (*made.NATIVE, *baseline):
                continue
            if photometric == "YBR_FULL" and (j2k or lossless_jpeg or "JPEGLS" in uid.UID(syntax).keyword):
                yield photometric, syntax  # PS3.5 allows it; no transform of the codec then
                continue
            yield photometric, syntax


def read(data: bytes) -> np.ndarray:
    return np.asarray(decode.read(data, "black").image).astype(int)


def reference(photometric: str) -> np.ndarray:
    """What a viewer shows: the picture, after the rounding to YCbCr where a file stores that."""
    picture = made.drawn()
    if photometric in GREY:
        return np.asarray(picture.convert("L").convert("RGB")).astype(int)
    if photometric == "YBR_FULL":
        return np.asarray(picture.convert("YCbCr").convert("RGB")).astype(int)
    return np.asarray(picture).astype(int)


@pytest.mark.parametrize(("photometric", "syntax"), [*combinations()])
def test_every_syntax_gives_the_picture(photometric: str, syntax: str) -> None:
    pixels = read(made.of_image(made.drawn(), photometric, syntax))
    difference = np.abs(pixels - reference(photometric))
    if syntax in made.LOSSY or photometric == "YBR_FULL_422":
        assert difference.mean() <= 2
    else:
        assert difference.max() == 0


@pytest.mark.parametrize("syntax", [NATIVE, uid.ExplicitVRBigEndian, uid.RLELossless])
def test_planes_of_colour(syntax: str) -> None:
    data = made.of_image(made.drawn(), "RGB", syntax, PlanarConfiguration=1)
    assert (read(data) == reference("RGB")).all()


@pytest.mark.parametrize("syntax", [*made.NATIVE, uid.RLELossless, uid.JPEGLosslessSV1, uid.JPEG2000Lossless])
@pytest.mark.parametrize("signed", [False, True])
def test_twelve_bits_with_a_window(syntax: str, signed: bool) -> None:
    grey = np.asarray(made.drawn().convert("L")).astype(np.int32)
    values = grey * 8 + (-1000 if signed else 100)
    data = made.attributes(grey.shape[0], grey.shape[1], 1, "MONOCHROME2", 16, 12)
    data.PixelRepresentation = int(signed)
    data.RescaleSlope, data.RescaleIntercept = "0.5", "-3.25"
    # LINEAR_EXACT: from the value of grey 0 to that of grey 255, after the rescale.
    low, high = (v * 0.5 - 3.25 for v in (values.min() - 8 * grey.min(), values.min() - 8 * grey.min() + 8 * 255))
    data.WindowCenter, data.WindowWidth, data.VOILUTFunction = f"{(low + high) / 2}", f"{high - low}", "LINEAR_EXACT"
    stored = (
        (values & 0xFFF).astype(np.uint16)
        if syntax != uid.JPEG2000Lossless
        else values.astype(np.int16 if signed else np.uint16)
    )
    made.put_pixels(data, syntax, [stored])
    pixels = read(made.file_of(data, syntax))
    assert np.abs(pixels[..., 0] - grey).max() == 0


def test_a_window_comes_before_the_inversion() -> None:
    grey = np.asarray(made.drawn().convert("L"))
    data = made.of_image(Image.fromarray(grey), "MONOCHROME1", NATIVE, WindowCenter="64", WindowWidth="64")
    shown = np.clip(((255 - grey.astype(float)) - 63.5) / 63 + 0.5, 0, 1)
    assert np.abs(read(data)[..., 0] - (255 - np.rint(255 * shown))).max() == 0


@pytest.mark.parametrize(
    ("centre", "width", "valid"),
    [
        ("127.5", "0.5", False),
        ("127.5", "1", True),
        ("1e999", "100", False),
        ("", "", True),
        ("128\\40", "256\\80", True),
    ],
)
def test_odd_windows(centre: str, width: str, valid: bool) -> None:
    data = made.of_image(made.drawn(), "MONOCHROME2", NATIVE, WindowCenter=centre, WindowWidth=width)
    notes = decode.read(data, "black").notes
    assert (BAD_WINDOW in notes) is not valid


def test_a_table_of_values() -> None:
    grey = np.asarray(made.drawn().convert("L"))
    item = Dataset()
    item.LUTDescriptor = [256, 0, 16]
    item.LUTData = [65535 - 257 * value for value in range(256)]
    item["LUTData"].VR = "US"
    data = made.of_image(Image.fromarray(grey), "MONOCHROME2", NATIVE, VOILUTSequence=Sequence([item]))
    assert (read(data)[..., 0] == 255 - grey).all()


def test_deep_values_without_a_window_follow_the_rule_of_all_formats() -> None:
    grey = np.asarray(made.drawn().convert("L")).astype(np.uint16) * 16
    data = made.attributes(grey.shape[0], grey.shape[1], 1, "MONOCHROME2", 16, 16)
    made.put_pixels(data, NATIVE, [grey])
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "PNG")
    as_png = decode.read(out.getvalue(), "black")
    as_dicom = decode.read(made.file_of(data, NATIVE), "black")
    assert np.array_equal(np.asarray(as_dicom.image), np.asarray(as_png.image))
    assert set(as_png.notes) <= set(as_dicom.notes)


def without_meta(data: bytes) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = dataset.original_encoding
    write_dataset(stream, dataset)
    return stream.getvalue()


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, NATIVE, uid.ExplicitVRBigEndian])
def test_without_preamble_and_meta_information(syntax: str) -> None:
    data = made.of_image(made.drawn(), "RGB", syntax)
    bare = without_meta(data)
    assert not bare.startswith(b"DICM", 128)
    assert (read(bare) == reference("RGB")).all()
    assert (read(data[132:]) == reference("RGB")).all()


def test_without_the_length_of_the_meta_information() -> None:
    data = made.of_image(made.drawn(), "RGB", NATIVE)
    assert data[132:136] == b"\x02\0\0\0"
    assert (read(data[:132] + data[144:]) == reference("RGB")).all()


@pytest.mark.parametrize(
    "start", [b"II*\0" + b"\0" * 124, b"\xff\xd8\xff\xe0" + b"\0" * 124, b"%PDF-1.7" + b"\0" * 120]
)
def test_any_preamble(start: bytes) -> None:
    data = made.of_image(made.drawn(), "RGB", NATIVE)
    assert (read(start + data[128:]) == reference("RGB")).all()


def test_undefined_lengths_and_private_sequences() -> None:
    item = Dataset()
    item.add_new(0x00091001, "UN", b"1234")
    outer = Dataset()
    outer.add_new(0x00091002, "SQ", Sequence([item]))
    outer[0x00091002].is_undefined_length = True
    data = pydicom.dcmread(io.BytesIO(made.of_image(made.drawn(), "RGB", NATIVE)))
    data.add_new(0x00091003, "SQ", Sequence([outer]))
    data[0x00091003].is_undefined_length = True
    outer.is_undefined_length_sequence_item = True
    assert (read(made.file_of(data, NATIVE)) == reference("RGB")).all()


# Wrong kinds


@pytest.mark.parametrize("modality", ["CT", "MR", "CR", "DX", "MG", "PT", "NM", "SR", "SEG"])
def test_other_modalities_are_refused_by_name(modality: str) -> None:
    with pytest.raises(ImageRefused, match=rf"\b{modality}\b.*no model"):
        read(made.of_image(made.drawn(), "MONOCHROME2", NATIVE, Modality=modality))


@pytest.mark.parametrize(
    ("keyword", "value", "name"),
    [
        *(("Modality", modality, name) for modality, name in dicom.MODALITIES.items()),
        *(("SOPClassUID", f"{start}1".replace("..", "."), name) for start, name in dicom.CLASSES.items()),
    ],
)
def test_every_kind_that_no_task_reads_is_named(keyword: str, value: str, name: str) -> None:
    change: dict[str, Any] = {keyword: value}
    with pytest.raises(ImageRefused, match=re.escape(name)):
        read(made.of_image(made.drawn(), "MONOCHROME2", NATIVE, **change))


def test_what_is_missing_is_named() -> None:
    whole = pydicom.dcmread(io.BytesIO(made.of_image(made.drawn(), "RGB", NATIVE)))
    for keyword, reason in (("Rows", r"size.*\(Rows\)"), ("Columns", r"\(Columns\)"), ("PixelData", "no pixel data")):
        data = pydicom.dcmread(io.BytesIO(made.file_of(whole, NATIVE)))
        delattr(data, keyword)
        with pytest.raises(ImageRefused, match=reason):
            read(made.file_of(data, NATIVE))


@pytest.mark.parametrize("syntax", made.SYNTAXES)
def test_cut_off_pixels_are_refused(syntax: str) -> None:
    data = made.of_image(made.drawn(), "RGB" if "HTJ2K" not in uid.UID(syntax).keyword else "YBR_RCT", syntax)
    for share in (0.5, 0.8):
        with pytest.raises(ImageRefused):
            read(data[: int(share * len(data))])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"PhotometricInterpretation": "HSV"}, "colours in a way"),
        ({"BitsAllocated": 64, "BitsStored": 64}, "values in a form"),
        ({"NumberOfFrames": 10**6}, "frames"),
        ({"Rows": 65000, "Columns": 65000}, "megapixels"),
        ({"Rows": 3, "Columns": 3}, "at least"),
        ({"EncryptedAttributesSequence": Sequence([Dataset()]), "PixelData": None}, "encrypted"),
    ],
)
def test_other_refusals(change: dict[str, Any], reason: str) -> None:
    data = pydicom.dcmread(io.BytesIO(made.of_image(made.drawn(), "RGB", NATIVE)))
    for keyword, value in change.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)
    with pytest.raises(ImageRefused, match=reason):
        read(made.file_of(data, NATIVE))


def test_films_and_unknown_syntaxes() -> None:
    data = made.of_image(made.drawn(), "RGB", uid.RLELossless)
    for syntax, reason in ((uid.MPEG2MPML, "film"), ("1.2.840.10008.1.2.4.94", "compression")):
        changed = pydicom.dcmread(io.BytesIO(data))
        with pytest.raises(ImageRefused, match=reason):
            read(made.file_of(changed, syntax))


def test_an_encrypted_envelope() -> None:
    envelope = b"\x30\x82\x10\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03" + bytes(100)
    with pytest.raises(ImageRefused, match="encrypted"):
        read(envelope)


# Bombs


@pytest.mark.parametrize("syntax", [each for each in made.SYNTAXES if each in dicom_codecs.CODECS])
def test_a_stream_that_states_another_size_is_refused_before_decoding(
    syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pydicom.dcmread(io.BytesIO(made.of_image(made.drawn(), "MONOCHROME2", syntax)))
    data.Rows -= 1

    def never(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    for name in ("jpeg8_decode", "jpegls_decode", "jpeg2k_decode"):
        monkeypatch.setattr(imagecodecs, name, never)
    with pytest.raises(ImageRefused, match="another size" if syntax != uid.RLELossless else "cut off|damaged"):
        read(made.file_of(data, syntax))


def test_a_deflate_bomb() -> None:
    head = made.of_image(made.drawn(), "RGB", NATIVE)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(packer.compress(bytes(10**7)) for _ in range(20)) + packer.flush()
    meta_end = head.index(b"\x08\0\x16\0")
    meta = head[:meta_end].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    meta = meta.replace(b"\x02\0\x10\0UI\x14\0", b"\x02\0\x10\0UI\x16\0")
    with pytest.raises(ImageRefused) as refused:
        read(meta + bomb)
    assert str(refused.value) == reasons.TOO_MUCH_MEMORY
    assert dicom_file.MAX_INFLATED < 4 * MAX_PIXELS


def test_a_million_elements_and_deep_sequences() -> None:
    head = made.of_image(made.drawn(), "RGB", NATIVE)
    start = head.index(b"\x28\0\x02\0")
    private = b"\x09\0\x01\x10LO\0\0" * 1_000_000
    nested = (b"\x09\0\x02\x10SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\xff\xff\xff\xff") * 50_000
    for filling, reason in ((private, reasons.TOO_MANY_PARTS), (nested, None)):
        with pytest.raises(ImageRefused) as refused:
            read(head[:start] + filling + head[start:])
        assert reason is None or str(refused.value) == reason


# Regions and scale


def test_only_the_region_is_read() -> None:
    picture = made.drawn()
    data = made.of_image(
        picture,
        "RGB",
        NATIVE,
        SequenceOfUltrasoundRegions=made.regions(made.region(20, 16, 140, 120), made.region(0, 0, 40, 40)),
    )
    answer = decode.read(data, "black")
    assert np.array_equal(np.asarray(answer.image), np.asarray(picture)[16:120, 20:140])
    assert dicom_regions.CROPPED in answer.notes


@pytest.mark.parametrize(
    ("item", "note"),
    [
        (made.region(500, 500, 600, 600), dicom_regions.OUTSIDE),
        (made.region(100, 100, 90, 90), dicom_regions.OUTSIDE),
        (made.region(20, 20, 120, 120, RegionSpatialFormat=3), dicom_regions.OUTSIDE),
        (made.region(20, 20, 120, 120, RegionDataType=0x0A), dicom_regions.OUTSIDE),
        (None, dicom_regions.NO_REGION),
    ],
)
def test_without_a_valid_region_the_whole_image_is_read(item: Dataset | None, note: str) -> None:
    others: dict[str, Any] = {} if item is None else {"SequenceOfUltrasoundRegions": made.regions(item)}
    answer = decode.read(made.of_image(made.drawn(), "RGB", NATIVE, **others), "black")
    assert answer.image.size == made.drawn().size
    assert note in answer.notes


def test_a_region_that_reaches_beyond_the_image_is_clamped() -> None:
    data = made.of_image(
        made.drawn(),
        "RGB",
        uid.JPEGBaseline8Bit,
        SequenceOfUltrasoundRegions=made.regions(made.region(40, 0, 900, 900)),
    )
    assert decode.read(data, "black").image.size == (120, 128)


# Cines


@pytest.mark.parametrize("syntax", [NATIVE, uid.JPEGBaseline8Bit, uid.RLELossless])
def test_each_frame_of_a_cine(syntax: str) -> None:
    greys = [Image.new("L", (64, 48), 10 * number) for number in range(12)]
    cine = Cine(made.of_frames(greys, "MONOCHROME2", syntax))
    assert cine.count == 12
    for number in (0, 5, 11):
        assert abs(np.asarray(cine.frame(number, [])).mean() - 10 * number) <= 1


def test_the_file_is_the_same_from_disk_and_from_memory(tmp_path: Path) -> None:
    data = made.of_image(made.drawn(), "RGB", uid.JPEG2000Lossless)
    (tmp_path / "no suffix").write_bytes(data)
    one, other = decode.read(tmp_path / "no suffix", "black"), decode.read(data, "black")
    assert np.array_equal(np.asarray(one.image), np.asarray(other.image))
    assert one.notes == other.notes
