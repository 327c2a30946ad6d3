"""src/pictures/tiff.py: the right page with the right values, for any byte order and compression."""

import struct
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from src.pictures import reasons, tiff_directories
from src.pictures.picture import ImageRefused
from src.pictures.pillow_frame import FIRST_ONLY
from src.pictures.tiff import PLANES, REDUCED_FIRST
from src.pictures.tiff_segments import LARGER, check_stated_size
from tests.support.tiff_tiles import KINDS, SIDE, tiff_tile
from tests.unit.pictures.test_decode import photo, pixels, read, refusal
from tests.unit.pictures.test_depth import GREY, TWIN, assert_twin, tiff

LARGE = np.asarray(photo(160, 120))


def written(*pages: tuple[np.ndarray, dict[str, Any]], **options: Any) -> bytes:

    stream = BytesIO()
    with tifffile.TiffWriter(stream, **options) as file:
        for values, how in pages:
            file.write(values, **{"metadata": None, **how})
    return stream.getvalue()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_byte_orders_and_bigtiff(order: str, big: bool, dtype: str) -> None:
    values = TWIN.astype(dtype) * np.array(257 if dtype == "uint16" else 1, dtype)
    assert_twin(tiff(values, photometric="rgb", byteorder=order, bigtiff=big))


CODECS = ("zlib", "deflate", "lzw", "packbits", "zstd", "lzma", "lerc", "jpeg2000", "jpeg")


@pytest.mark.parametrize(
    ("compression", "planar"),
    [*((codec, planar) for codec in CODECS for planar in ("contig", "separate")), ("webp", "contig")],
)
@pytest.mark.parametrize("tile", [None, (32, 48)])
def test_compressions_tiles_and_planes(compression: str, tile: tuple[int, int] | None, planar: str) -> None:
    values = TWIN if planar == "contig" else np.moveaxis(TWIN, 2, 0)
    data = tiff(values, photometric="rgb", planarconfig=planar, compression=compression, tile=tile)
    lossy = compression in ("webp", "jpeg")
    assert_twin(data, within=255 if lossy else 0)
    assert np.abs(pixels(read(data)) - TWIN).mean() < (4 if lossy else 0.001)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tile_that_states_a_larger_size_is_not_decoded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(tiff_tile(kind, SIDE)).image.size == (SIDE, SIDE)
    for codec in ("jpeg_decode", "jpeg2k_decode", "webp_decode", "lerc_decode"):
        monkeypatch.setattr(imagecodecs, codec, None)
    assert refusal(tiff_tile(kind, 5 * SIDE)) == LARGER


def test_a_lerc_tile_of_many_bands_is_not_decoded() -> None:
    data = tiff(GREY, photometric="minisblack", compression="lerc", tile=(64, 96))
    with tifffile.TiffFile(BytesIO(data)) as file:
        page = file.pages.first
        start, size = page.dataoffsets[0], page.databytecounts[0]
        blob = data[start : start + size]
        with pytest.raises(ImageRefused, match="larger size"):
            check_stated_size(page, 0, blob * 5)
        check_stated_size(page, 0, blob)


@pytest.mark.parametrize("compression", [None, "zlib", "jpeg"])
def test_missing_strips_are_not_made_up(compression: str | None) -> None:
    data = tiff(TWIN, photometric="rgb", compression=compression, rowsperstrip=16)
    with tifffile.TiffFile(BytesIO(data)) as file:
        tag = file.pages.first.tags["StripByteCounts"]
    for value in (0, 10**6):
        damaged = bytearray(data)
        damaged[tag.valueoffset : tag.valueoffset + 2] = struct.pack("<I", value)[:2]
        assert refusal(bytes(damaged)) == reasons.DAMAGED
    assert refusal(data[:-200]) == reasons.DAMAGED


def test_reduced_pages_and_thumbnails_are_passed_over() -> None:
    small = LARGE[::4, ::4].copy()
    thumbnail = (255 - small, {"photometric": "rgb", "subfiletype": 1})
    main = (LARGE, {"photometric": "rgb"})
    for pages, note in (
        ((thumbnail, main), (REDUCED_FIRST,)),
        ((main, thumbnail), ()),
        (((255 - small, {"photometric": "rgb"}), main), (REDUCED_FIRST,)),  # a thumbnail that does not say so
        ((main, main), (FIRST_ONLY,)),
    ):
        picture = read(written(*pages))
        assert np.array_equal(pixels(picture), LARGE)
        assert picture.notes == note


def test_the_picture_may_lie_in_a_sub_directory() -> None:
    data = written(
        (255 - LARGE[::4, ::4], {"photometric": "rgb", "subfiletype": 1, "subifds": 1}), (LARGE, {"photometric": "rgb"})
    )
    assert np.array_equal(pixels(read(data)), LARGE)


def test_planes_stored_as_pages_are_put_together() -> None:

    planes = np.moveaxis(TWIN, 2, 0)
    for kind in ("ome", "imagej"):
        stream = BytesIO()
        options: dict[str, Any] = {kind: True}
        tifffile.imwrite(stream, planes, photometric="minisblack", metadata={"axes": "CYX"}, **options)
        assert PLANES in assert_twin(stream.getvalue())
    for number in (2, 4):
        stream = BytesIO()
        tifffile.imwrite(
            stream, np.stack([GREY] * number), photometric="minisblack", ome=True, metadata={"axes": "CYX"}
        )
        assert f"{number} channels" in refusal(stream.getvalue())
    stream = BytesIO()  # a stack in depth is no colours
    tifffile.imwrite(stream, planes, photometric="minisblack", ome=True, metadata={"axes": "ZYX"})
    assert read(stream.getvalue()).notes == (FIRST_ONLY,)


def test_raw_files_are_refused_by_name() -> None:
    version = [(50706, "B", 4, (1, 4, 0, 0), True)]
    dng = written((LARGE[::4, ::4], {"photometric": "rgb", "subfiletype": 1, "extratags": version}))
    cfa = tiff(GREY.astype(np.uint16), photometric="cfa")
    for data in (dng, cfa):
        assert refusal(data) == reasons.RAW


def test_other_compressions_are_refused_by_name() -> None:
    assert "JPEGXL" in refusal(tiff(TWIN, photometric="rgb", compression="jpegxl"))


def test_premultiplied_colours_are_divided() -> None:
    alpha = np.full(GREY.shape, 128, np.uint8)
    values = np.dstack(((TWIN.astype(int) * 128 // 255).astype(np.uint8), alpha))
    data = tiff(values, photometric="rgb", extrasamples=["assocalpha"])
    assert np.abs(pixels(read(data, "white")) - (TWIN.astype(int) * 128 / 255 + 127)).max() <= 3


def test_tags_repeated_without_end_are_refused_before_they_are_read() -> None:
    entries = 4000
    directory = struct.pack("<H", entries) + struct.pack("<HHII", 273, 4, 1_000_000, 8) * entries + bytes(4)
    start = 8 + 4_000_000
    data = b"II*\0" + struct.pack("<I", start) + bytes(4_000_000) + directory
    assert tiff_directories.count_parts(data)[1] > 20_000
    assert refusal(data) == reasons.TOO_MANY_PARTS


def test_a_file_cut_off_before_its_main_page_is_no_thumbnail() -> None:
    thumbnail = (LARGE[::4, ::4], {"photometric": "rgb", "subfiletype": 1})
    data = written(thumbnail, (LARGE, {"photometric": "rgb"}))
    assert np.array_equal(pixels(read(data)), LARGE)
    for share in (0.2, 0.5, 0.9):
        assert refusal(data[: int(share * len(data))]) == reasons.DAMAGED


def test_pages_in_a_circle_are_counted_once() -> None:
    data = bytearray(tiff(TWIN, photometric="rgb"))
    (at,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, at)
    struct.pack_into("<I", data, at + 2 + 12 * entries, at)
    assert tiff_directories.count_pages(bytes(data)) == 1
    assert_twin(bytes(data))


@pytest.mark.parametrize("channels", [3, 4])
def test_channels_without_a_meaning_are_not_read_as_grey(channels: int) -> None:
    values = np.dstack((TWIN, GREY))[..., :channels]
    said = refusal(tiff(values, photometric="minisblack", planarconfig="contig"))
    assert f"stores {channels} channels" in said


def test_a_palette_of_8_bits_is_no_black_picture() -> None:
    palette = np.repeat(np.arange(256, dtype=np.uint16)[None], 3, axis=0)
    for colours in (palette, palette * np.uint16(257)):
        picture = read(tiff(GREY, photometric="palette", colormap=colours))
        assert np.array_equal(pixels(picture)[..., 0], GREY)
