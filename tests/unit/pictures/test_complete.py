"""A file whose image data are missing, in part or at the end, is refused, whatever decoder would fill the gap."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from src.pictures.reasons import DAMAGED
from tests.support.incomplete_files import (
    COLOURS,
    HEIGHT,
    WIDTH,
    cut_segments,
    passes_of,
    png,
    rows_of,
    tiled_jpeg2000,
    without_tile,
)
from tests.unit.pictures.test_decode import photo, pixels, read, refusal


@pytest.mark.parametrize("kind", COLOURS)
def test_png_rows(kind: str) -> None:
    colours, channels = COLOURS[kind]
    values = np.full((HEIGHT, WIDTH, channels), 80, np.uint8)
    rows = list(rows_of(values))
    read(png(colours, b"".join(rows)))
    read(png(colours, b"".join(rows) + b"more"))
    for missing in (1, 10, HEIGHT - 1):
        assert refusal(png(colours, b"".join(rows[:-missing]))) == DAMAGED
    assert refusal(png(colours, b"".join(rows), end=False)) == DAMAGED


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_rows_of_few_bits(bits: int) -> None:
    row = b"\0" + b"\x55" * -(-WIDTH * bits // 8)
    read(png(0, row * HEIGHT, bits))
    assert refusal(png(0, row * (HEIGHT - 1), bits)) == DAMAGED


def test_png_passes() -> None:
    values = np.asarray(photo(WIDTH, HEIGHT))
    passes = passes_of(values)
    assert np.array_equal(pixels(read(png(2, b"".join(passes), interlaced=True))), values)
    for kept in range(1, 7):
        assert refusal(png(2, b"".join(passes[:kept]), interlaced=True)) == DAMAGED


@pytest.mark.parametrize("cut", [5, 8, 12, 16, 20])
def test_png_without_its_tail(cut: int) -> None:
    stream = io.BytesIO()
    photo(WIDTH, HEIGHT).save(stream, "PNG")
    assert refusal(stream.getvalue()[:-cut]) == DAMAGED


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_colours_that_the_palette_lacks(kind: str) -> None:
    image = Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64) % 16).convert("P")
    for entries, whole in ((16, True), (10, False)):
        image.putpalette(bytes(range(3 * entries)))
        stream = io.BytesIO()
        image.save(stream, kind)
        data = stream.getvalue()
        if kind == "BMP":  # Pillow writes 256 entries whatever the image has
            data = data[:46] + struct.pack("<I", entries) + data[50:]
        if whole:
            read(data)
        else:
            assert refusal(data) == DAMAGED


def test_run_length_encoded_bmp() -> None:
    header = struct.pack("<IiiHHIIiiII", 40, 64, 64, 1, 8, 1, 2, 0, 0, 256, 0)
    body = header + bytes(4 * 256) + b"\0\1"
    data = b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 14 + 40 + 4 * 256) + body
    assert "run-length encoded BMP" in refusal(data)


@pytest.mark.parametrize("kind", ["jpeg", "jpeg2000", "webp", "deflate", "lzw"])
@pytest.mark.parametrize("tile", [True, False])
def test_tiff_segments(kind: str, tile: bool) -> None:
    read(cut_segments(kind, 1, tile))
    for share in (0.3, 0.6, 0.9):
        assert refusal(cut_segments(kind, share, tile)) == DAMAGED


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
@pytest.mark.parametrize("boxed", [False, True])
def test_jpeg2000_tiles(mode: str, boxed: bool) -> None:
    data = tiled_jpeg2000(mode, boxed)
    read(data)
    for missing in (0, 5, 11):
        assert refusal(without_tile(data, missing)) == DAMAGED
