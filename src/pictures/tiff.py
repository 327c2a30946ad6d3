"""TIFF beyond what Pillow checks: how many parts a file has."""

from io import BytesIO

from PIL import TiffImagePlugin

from src.pictures.limits import MAX_PARTS, MAX_PIXELS


def count_parts(data: bytes) -> tuple[int, int]:
    """(0 scans, strips or tiles that Pillow handles one by one) of the first page.

    Raises any of `formats.DECODER_ERRORS` for a damaged file, since Pillow's own reader reads the directory.
    """
    directory = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if 43 in data[2:4] else 8])
    stream = BytesIO(data)
    stream.seek(directory.next)
    directory.load(stream)
    offsets = (directory.get(TiffImagePlugin.STRIPOFFSETS), directory.get(TiffImagePlugin.TILEOFFSETS))
    parts = max((len(tag) for tag in offsets if isinstance(tag, tuple | bytes)), default=0)
    # A tile is decoded whole, however little of it the picture covers: it counts as pixels do.
    sides = directory.get(TiffImagePlugin.TILEWIDTH), directory.get(TiffImagePlugin.TILELENGTH)
    if isinstance(sides[0], int) and isinstance(sides[1], int) and sides[0] * sides[1] > MAX_PIXELS:
        parts = MAX_PARTS + 1
    return 0, parts
