"""src/pictures/decode.py: every file gives the right pixels or one clear sentence."""

import gzip
import random
import re
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from src.pictures import decode, limits, reasons
from src.pictures.colour import Background
from src.pictures.picture import ImageRefused, Picture
from src.pictures.size import check_size
from tests.support.orientation import as_stored
from tests.support.synthetic_datasets import speckle

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def photo(width: int = 80, height: int = 60) -> Image.Image:
    """A smooth colour picture, brighter to the right, redder to the bottom: no two corners are alike."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return Image.fromarray((np.stack((60 + 180 * y, 40 + 200 * x, 90 + 0 * x), axis=2)).astype(np.uint8))


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand: an 8-bit grey header and whatever chunks follow."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in (header, *chunks, (b"IEND", b""))
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(picture.image).astype(int)


def read(source: Any, background: Background = "black") -> Picture:
    return decode.read(source, background)


def refusal(source: Any) -> str:
    with pytest.raises(ImageRefused) as caught:
        read(source)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 170
    return sentence


@pytest.mark.parametrize("kind", FORMATS)
def test_bytes_and_path_give_the_same_whatever_the_suffix(tmp_path: Path, kind: str) -> None:
    data = encoded(photo(), kind)
    path = tmp_path / "picture.gif"
    path.write_bytes(data)
    by_bytes, by_path, by_text = read(data), read(path), read(str(path))
    assert by_bytes.image.mode == "RGB"
    assert by_bytes.image.size == (80, 60)
    assert by_bytes.notes == by_path.notes == by_text.notes == ()
    assert by_bytes.image.tobytes() == by_path.image.tobytes() == by_text.image.tobytes()
    assert np.abs(pixels(by_bytes) - np.asarray(photo()).astype(int)).mean() < 4


@pytest.mark.parametrize("nothing", [None, "", 7, ["a"], {}])
def test_nothing_given(nothing: Any) -> None:
    assert refusal(nothing) == "No image was given."


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert refusal(b"") == "The file is empty."
    (tmp_path / "empty.png").touch()
    assert refusal(tmp_path / "empty.png") == "The file is empty."
    assert refusal(tmp_path / "missing.png") == "There is no such file."
    assert refusal(tmp_path) == "There is no such file."
    assert refusal("a\0b.png") == "There is no such file."


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"just some text\n" * 20, "not an image"),
        (encoded(photo(), "GIF"), "GIF"),
        (b"\0" * 128 + b"DICM" + b"\0" * 50, "DICOM"),
        (b"%PDF-1.7\n", "PDF"),
        (b"8BPS\0\1" + b"\0" * 40, "Photoshop"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (b"\0\0\0\x18ftypcrx \0\0\0\0", "raw file"),
        (b"II*\0\x10\0\0\0CR\2\0", "raw file"),
        (gzip.compress(b"picture", mtime=0), "gzip"),
        (b"\xff\x0a" + b"\0" * 40, "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"PK\x03\x04" + b"\0" * 40, "ZIP"),
        (encoded(photo(), "PPM"), "not an image"),
        (random.Random(0).randbytes(5000), "not an image"),
    ],
)
def test_other_kinds_are_refused_by_name_whatever_the_suffix(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    assert said in refusal(path)
    assert refusal(data) == refusal(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_half_a_file_is_refused(kind: str) -> None:
    data = encoded(photo(400, 300), kind)
    for share in (0.3, 0.5, 0.9):
        assert refusal(data[: int(share * len(data))]) == reasons.DAMAGED


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_data_before_its_end_marker_is_refused(mode: str, progressive: bool) -> None:
    data = encoded(speckle(400, 300).convert(mode), "JPEG", progressive=progressive)
    start = data.index(b"\xff\xda") + 20
    for share in (0, 0.3, 0.5, 0.9):
        assert refusal(data[: start + int(share * (len(data) - start))] + b"\xff\xd9") == reasons.DAMAGED
    middle = (start + len(data)) // 2
    assert refusal(data[: (start + middle) // 2] + data[middle:]) == reasons.DAMAGED
    # Padding before the end marker, and what phones append after it, take nothing away.
    read(data[:-2] + b"\0" * 40 + data[-2:])
    read(data + b"a film" * 100)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_progressive_jpeg_that_lacks_its_last_scans_is_refused(mode: str) -> None:
    data = encoded(speckle(400, 300).convert(mode), "JPEG", progressive=True)
    read(data)
    ends = [found.start() for found in re.finditer(b"\xff\xda", data)]
    assert len(ends) > 4
    for end in ends[1:]:
        assert refusal(data[:end] + b"\xff\xd9") == reasons.DAMAGED


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_films_and_stacks_are_refused(kind: str) -> None:
    def frames(n: int) -> bytes:
        first, *others = [Image.new("L", (28, 28), i % 2 * 200 + i) for i in range(n)]
        return encoded(first, kind, save_all=True, append_images=others)

    assert refusal(frames(limits.MAX_FRAMES + 1)) == reasons.TOO_MANY_FRAMES
    picture = read(frames(limits.MAX_FRAMES))
    assert pixels(picture).max() <= 1
    assert len(picture.notes) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_strips_are_refused_before_they_are_decoded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in ((28 * limits.MAX_ASPECT, 28), (30, 30 * limits.MAX_ASPECT)):
        assert read(encoded(photo(*size), kind)).image.size == size
    strips = {size: encoded(photo(*size), kind) for size in ((28 * limits.MAX_ASPECT + 1, 28), (28, 160_000 // 28))}
    monkeypatch.setattr(Image.Image, "load", None)
    for size, strip in strips.items():
        sentence = refusal(strip)
        assert f"{size[0]} × {size[1]} pixels" in sentence
        assert "more than 20 times" in sentence


def test_a_picture_that_takes_too_much_memory_is_not_called_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(_: Image.Image) -> None:
        raise MemoryError

    data = encoded(photo(), "PNG")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", out_of_memory)
    assert refusal(data) == reasons.TOO_MUCH_MEMORY


def test_too_small_and_too_large(tmp_path: Path) -> None:
    assert "1 × 1" in refusal(encoded(Image.new("RGB", (1, 1)), "PNG"))
    assert "27" in refusal(encoded(photo(200, 27), "PNG"))
    assert read(encoded(photo(28, 28), "PNG")).image.size == (28, 28)
    check_size(5000, 8000)
    assert "5001 × 8000" in refusal(png(5001, 8000, (b"IDAT", PIXEL_ROWS)))
    # A file over the limit in bytes is refused unread: this one has no bytes on the disk.
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(50_000_000_000)
    assert "50000.0 MB" in refusal(tmp_path / "large.jpg")
    assert "MB" in refusal(b"\xff\xd8\xff" + b"\0" * limits.MAX_BYTES)


def _jpeg_scans() -> bytes:
    data = encoded(Image.new("L", (2000, 2000), 128), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xc4") : -2]
    return data[:-2] + 1000 * last + data[-2:]


def _tiff_tiles(n: int, side: int, tile: int) -> bytes:
    tags = [(256, 3, 1, side), (257, 3, 1, side), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    tags += [(322, 3, 1, tile), (323, 3, 1, tile), (324, 3, n, 200), (325, 3, n, 200)]
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return head.ljust(200, b"\0") + b"\1" * (2 * n)


SMALL_JPEG = encoded(photo(), "JPEG")
PIXEL_ROWS = zlib.compress(b"\0" * 101 * 100)


def _spaces(n: int) -> bytes:
    return zlib.compress(b" " * n)


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "40,000 x 40,000": ("40 megapixels", lambda: png(40_000, 40_000, (b"IDAT", PIXEL_ROWS))),
    "where Pillow only warns": ("40 megapixels", lambda: png(12_000, 12_000, (b"IDAT", PIXEL_ROWS))),
    "text": ("cut off", lambda: png(100, 100, (b"zTXt", b"a\0\0" + _spaces(100_000_000)), (b"IDAT", PIXEL_ROWS))),
    "profiles": (
        "parts",
        lambda: png(100, 100, *[(b"iCCP", b"a\0\0" + _spaces(900_000))] * 3000, (b"IDAT", PIXEL_ROWS)),
    ),
    "chunks": ("parts", lambda: png(100, 100, *[(b"abCd", b"")] * 200_000, (b"IDAT", PIXEL_ROWS))),
    "scans": ("parts", _jpeg_scans),
    "EXIF": ("parts", lambda: SMALL_JPEG[:2] + b"\xff\xe1\0\x09Exif\0\0a" * 1_000_000 + SMALL_JPEG[2:]),
    "padding": ("parts", lambda: SMALL_JPEG[:2] + b"\xff" * 11_000_000 + SMALL_JPEG[2:]),
    "tiles": ("parts", lambda: _tiff_tiles(1_000_000, 6000, 1)),
    "one huge tile": ("parts", lambda: _tiff_tiles(1, 100, 13_008)),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_at_once_and_in_little_memory(name: str) -> None:
    said, make = BOMBS[name]
    data = make()
    began = time.process_time()
    assert said in refusal(data)
    assert time.process_time() - began < 1
    # Python's own memory; Pillow's pixel buffers would show in the time and are never asked for here.
    tracemalloc.start()
    refusal(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000_000


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture_upright(kind: str, orientation: int) -> None:
    image, exif = as_stored(photo(), orientation)
    picture = read(encoded(image, kind, exif=exif))
    assert picture.image.size == (80, 60)
    assert np.abs(pixels(picture) - np.asarray(photo()).astype(int)).mean() < 4


@pytest.mark.parametrize("exif", [b"Exif\0\0" + b"\xff" * 40, b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0MM"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_kill_the_read(kind: str, exif: bytes) -> None:
    assert read(encoded(photo(), kind, exif=exif)).image.size == (80, 60)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_first_of_several_frames(kind: str) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "green", "blue")]
    picture = read(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert np.abs(pixels(picture) - (255, 0, 0)).max() <= 3
    assert len(picture.notes) == 1
    assert "first" in picture.notes[0]


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *[(mode, "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")],
        *[(mode, "TIFF") for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "LAB")],
        *[(mode, "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")],
        *[(mode, "JPEG") for mode in ("L", "RGB", "YCbCr", "CMYK")],
        *[(mode, "WEBP") for mode in ("L", "RGB", "RGBA")],
    ],
)
def test_modes_keep_black_white_and_grey_steps(mode: str, kind: str) -> None:
    bars = Image.fromarray(np.repeat(np.array([0, 255, 0, 255], np.uint8), 16)[None, :].repeat(40, axis=0))
    if mode == "LAB":
        neutral = Image.new("L", bars.size, 128)
        stored = Image.merge("LAB", (bars, neutral, neutral))
    else:
        stored = bars.convert("RGB").convert(mode)
    picture = read(encoded(stored, kind))
    values = pixels(picture)[20, 8::16]
    assert picture.image.mode == "RGB"
    assert np.abs(values - np.array([0, 255, 0, 255])[:, None]).max() <= 8
    assert any("CMYK" in note for note in picture.notes) == (mode == "CMYK")


def test_ycbcr_inside_tiff_is_read_in_its_colours_with_jpeg_and_without() -> None:
    for data in (encoded(photo(), "TIFF", compression="jpeg"), encoded(photo().convert("YCbCr"), "TIFF")):
        assert np.abs(pixels(read(data)) - np.asarray(photo()).astype(int)).mean() < 4


def test_transparency_is_laid_over_black_and_said() -> None:
    rgba = Image.new("RGBA", (40, 40), (200, 100, 50, 255))
    rgba.paste((200, 100, 50, 0), (0, 0, 20, 40))
    palette = Image.new("P", (40, 40), 1)
    palette.putpalette([255, 255, 255, 200, 100, 50])
    palette.paste(0, (0, 0, 20, 40))
    for data in (encoded(rgba, "PNG"), encoded(rgba, "TIFF"), encoded(palette, "PNG", transparency=0)):
        picture = read(data)
        assert tuple(pixels(picture)[20, 10]) == (0, 0, 0)
        assert tuple(pixels(picture)[20, 30]) == (200, 100, 50)
        assert "black" in picture.notes[0]
    assert read(encoded(Image.new("RGBA", (40, 40), (9, 9, 9, 255)), "PNG")).notes == ()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_deep_grey_is_scaled_by_the_depth_in_use(kind: str, bits: int) -> None:
    top = 2**bits - 1
    ramp = np.linspace(0, top, 64).round().astype(np.uint16)[None, :].repeat(40, axis=0)
    picture = read(encoded(Image.fromarray(ramp), kind))
    assert np.abs(pixels(picture)[0, :, 0] - np.linspace(0, 255, 64)).max() <= 1
    assert f"{bits} bits" in picture.notes[0]


def test_32_bit_values_only_where_they_are_brightnesses() -> None:
    ramp = np.linspace(0, 4095, 64).round()[None, :].repeat(40, axis=0)
    for values in (ramp.astype(np.int32), ramp.astype(np.float32)):
        assert pixels(read(encoded(Image.fromarray(values), "TIFF"))).max() == 255
    nan = ramp.astype(np.float32)
    nan[3, 3] = np.nan
    assert "NaN" in refusal(encoded(Image.fromarray(nan), "TIFF"))
    for values, said in (
        (ramp.astype(np.int32) - 9, "from -9 to 4086"),
        (ramp.astype(np.int32) * 99, "from 0 to 4.054e+05"),
        ((ramp / 16).astype(np.float32), "from 0 to 255.9"),
    ):
        assert said in refusal(encoded(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("deep", [False, True])
def test_min_is_white_tiff_is_not_inverted(compression: str | None, deep: bool) -> None:
    stored = np.zeros((40, 64), np.uint16 if deep else np.uint8)
    stored[:, 32:] = 4095 if deep else 255
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    data = encoded(Image.fromarray(stored), "TIFF", tiffinfo=tags, compression=compression)
    # Pillow's writer turns 8-bit pixels itself where asked for photometric 0, so the tag is set in the file instead.
    entry = struct.pack("<HHI", 262, 3, 1)
    where = data.index(entry) + len(entry)
    data = data[:where] + b"\0\0" + data[where + 2 :]
    shown = pixels(read(data))
    assert shown[0, 0, 0] == 255
    assert shown[0, 63, 0] == 0


def test_mutated_files_are_read_or_refused_and_nothing_else() -> None:
    rng = random.Random(5)
    originals = [encoded(photo(), kind) for kind in FORMATS]
    originals.append(encoded(photo(), "JPEG", progressive=True))
    originals.append(encoded(photo(), "TIFF", compression="tiff_lzw"))
    began = time.perf_counter()
    for i in range(280):
        data = bytearray(originals[i % len(originals)])
        for _ in range(rng.randint(1, 8)):
            data[min(int(rng.expovariate(1 / 150)), len(data) - 1)] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        try:
            picture = read(bytes(data))
        except ImageRefused:
            continue
        assert picture.image.mode == "RGB"
        assert len(picture.image.tobytes()) == 3 * picture.image.width * picture.image.height
    assert time.perf_counter() - began < 30
