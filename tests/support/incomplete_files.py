"""Files of which image data are missing, although every checksum is right."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import tifffile
from PIL import Image

from src.pictures.png import PASSES

WIDTH, HEIGHT = 90, 70
COLOURS = {"grey": (0, 1), "RGB": (2, 3), "palette": (3, 1), "grey and alpha": (4, 2), "RGBA": (6, 4)}


def png(colours: int, rows: bytes, bits: int = 8, interlaced: bool = False, end: bool = True) -> bytes:
    """A PNG by hand, whose checksums are right."""
    size = struct.pack(">II", WIDTH, HEIGHT) + bytes((bits, colours, 0, 0, interlaced))
    chunks = [(b"IHDR", size), (b"IDAT", zlib.compress(rows))]
    if colours == 3:
        chunks.insert(1, (b"PLTE", bytes(range(255)) + b"\0\0\0"))
    if end:
        chunks.append((b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def rows_of(values: np.ndarray) -> Iterator[bytes]:
    for row in values:
        yield b"\0" + row.tobytes()


def passes_of(values: np.ndarray) -> list[bytes]:
    return [b"".join(rows_of(values[upper::lower, left::right])) for left, upper, right, lower in PASSES]


def cut_segments(kind: str, share: float, tile: bool) -> bytes:
    """A TIFF whose segments end after this share of their data; one of them is whole."""
    stream = io.BytesIO()
    how = {"tile": (64, 64)} if tile else {"rowsperstrip": 64}
    tifffile.imwrite(stream, _photo(), photometric="rgb", compression=kind, metadata=None, **how)
    data = bytearray(stream.getvalue())
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        counts = page.tags["TileByteCounts" if tile else "StripByteCounts"]
        sizes = list(page.databytecounts)
        size = {3: "H", 4: "I"}[int(counts.dtype)]
        for i in range(1, len(sizes)):
            sizes[i] = int(sizes[i] * share)
        struct.pack_into(f"<{len(sizes)}{size}", data, counts.valueoffset, *sizes)
    return bytes(data)


def tiled_jpeg2000(mode: str, boxed: bool) -> bytes:
    """JPEG 2000 with twelve tiles, as a JP2 file or as a bare codestream. `mode`: RGB, L or I;16."""
    image = Image.fromarray(_photo())
    if mode != "RGB":
        image = image.convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    stream = io.BytesIO()
    image.save(stream, "JPEG2000", tile_size=(64, 64), no_jp2=not boxed)
    return stream.getvalue()


def without_tile(data: bytes, missing: int) -> bytes:
    """tiled_jpeg2000() without the tile of this number, 0 to 11."""
    starts = [at for at in range(len(data)) if data.startswith(b"\xff\x90\x00\x0a", at)]
    end = starts[missing + 1] if missing < len(starts) - 1 else len(data) - 2
    return data[: starts[missing]] + data[end:]


def incomplete_files() -> Iterator[tuple[str, bytes]]:
    """Names and contents of files of every kind."""
    for kind, (colours, channels) in COLOURS.items():
        values = np.tile(np.asarray(Image.fromarray(_photo()).convert("L"))[:HEIGHT, :WIDTH, None], channels)
        rows = list(rows_of(values))
        for missing in (1, HEIGHT // 2, HEIGHT - 1):
            yield f"PNG ({kind}) without {missing} rows", png(colours, b"".join(rows[:-missing]))
        for kept in (1, 3, 5, 6):
            yield f"PNG ({kind}) of {kept} passes", png(colours, b"".join(passes_of(values)[:kept]), interlaced=True)
        yield f"PNG ({kind}) without its end", png(colours, b"".join(rows), end=False)
    for compression in ("jpeg", "jpeg2000", "webp", "deflate", "lzw"):
        for share in (0.3, 0.6, 0.9):
            for tile in (True, False):
                parts = "tiles" if tile else "strips"
                yield f"TIFF whose {compression} {parts} end after {share:.0%}", cut_segments(compression, share, tile)
    for mode in ("RGB", "L", "I;16"):
        for boxed in (True, False):
            for tile_number in (0, 5, 11):
                data = without_tile(tiled_jpeg2000(mode, boxed), tile_number)
                yield f"JPEG 2000 ({mode}) without tile {tile_number}", data


def _photo() -> np.ndarray:
    """A smooth image of 256 x 192 pixels, (H, W, 3), uint8."""
    x, y = np.meshgrid(np.linspace(0, 1, 256), np.linspace(0, 1, 192))
    return np.stack((60 + 180 * y, 40 + 200 * x, 90 + 0 * x), axis=2).astype(np.uint8)
