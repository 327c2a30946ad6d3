"""A file's bytes or its path -> an upright 8-bit RGB picture, or a refusal that says why.

The only place that decodes a picture. It knows Pillow and the limits of a public demo. It knows no network, no input
size, no threshold and no page, and it never judges what a picture shows.

A file passes through these steps, each in a module of its own: `formats` recognises or refuses it, its `count_parts`
bounds the work, Pillow decodes the first frame, `check_complete` refuses missing pixels, `colour` and `depth` make it
8-bit RGB, `orientation` turns it upright.
"""

import os
from io import BytesIO
from pathlib import Path

from PIL import Image

from src.pictures.colour import to_rgb
from src.pictures.formats import DECODER_ERRORS, Format, recognised, refusal_by_name
from src.pictures.limits import MAX_ASPECT, MAX_BYTES, MAX_FRAMES, MAX_PARTS, MAX_PIXELS, MAX_SCANS, MIN_SIDE
from src.pictures.orientation import upright
from src.pictures.picture import ImageRefused, Picture

TOO_MANY_FRAMES = f"This file holds more than {MAX_FRAMES} frames or pages; export the one to be read as PNG or JPEG."
TOO_MANY_PARTS = "This file is made of far too many parts to be an ordinary picture; save it again as PNG or JPEG."
TOO_MANY_PIXELS = f"The picture has more than {MAX_PIXELS // 10**6} megapixels; make it smaller."
NOT_A_PICTURE = "This file is not a picture that can be read (JPEG, PNG, WebP, TIFF or BMP)."
TOO_MUCH_MEMORY = "Reading this picture takes more memory than there is for one picture; make it smaller."
DAMAGED = "This file is cut off, damaged or of a rare kind that cannot be read; save it again as PNG or JPEG."


def read(source: str | os.PathLike[str] | bytes | None) -> Picture:
    """Decode one picture from a path or from the file's bytes; both give the same result.

    The file's bytes decide what it is, not its suffix. Raises ImageRefused, and nothing else, whatever the file holds.
    """
    data = _contents(source)
    notes: list[str] = []
    frame = _first_frame(data, _format(data), notes)
    return Picture(upright(to_rgb(frame, notes), frame, notes), tuple(notes))


def _contents(source: str | os.PathLike[str] | bytes | None) -> bytes:
    if isinstance(source, bytes):
        data, size = source, len(source)
    else:
        if not isinstance(source, str | os.PathLike) or not os.fspath(source):
            raise ImageRefused("No picture was given.")
        try:
            # A pipe or device would block for ever or never end; a text with a null byte is no path (ValueError).
            if not Path(source).is_file():
                raise ImageRefused("There is no such file.")
            with Path(source).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                data = b"" if size > MAX_BYTES else file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ImageRefused("The file could not be opened.") from error
        size = max(size, len(data))
    if size > MAX_BYTES:
        raise ImageRefused(
            f"The file has {size / 1e6:.1f} MB; at most {MAX_BYTES // 10**6} MB are read. Save it smaller or as JPEG."
        )
    if not data:
        raise ImageRefused("The file is empty.")
    return data


def _format(data: bytes) -> Format:
    """The format of a file that is small enough in its parts to be opened."""
    known = refusal_by_name(data)
    if known is not None:
        raise ImageRefused(known)
    found = recognised(data)
    if found is None:
        raise ImageRefused(NOT_A_PICTURE)
    try:
        scans, parts = found.count_parts(data)
    except DECODER_ERRORS as error:
        raise ImageRefused(DAMAGED) from error
    if scans > MAX_SCANS or parts > MAX_PARTS:
        raise ImageRefused(TOO_MANY_PARTS)
    return found


def _first_frame(data: bytes, found: Format, notes: list[str]) -> Image.Image:
    """The first frame, with every pixel read, in whatever mode the file has."""
    try:
        # Pillow raises above 179 megapixels and warns above 89. The warning cannot be made an error here without a
        # global filter (catch_warnings is not thread-safe), and need not be: our own check follows at once.
        image = Image.open(BytesIO(data), formats=(found.name,))
    except Image.DecompressionBombError as error:
        raise ImageRefused(TOO_MANY_PIXELS) from error
    except DECODER_ERRORS as error:
        raise ImageRefused(DAMAGED) from error
    _check_size(image)
    # n_frames would walk all pages of a TIFF, and a file of 12 MB can claim a million. A phone's MPO (JPEG) is left
    # out: its further frames are previews and depth maps.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        if _has_frame(image, MAX_FRAMES):
            raise ImageRefused(TOO_MANY_FRAMES)
        notes.append("The file holds several frames or pages; only the first was read.")
    try:
        found.check_complete(data)
        image.load()
    except MemoryError as error:
        raise ImageRefused(TOO_MUCH_MEMORY) from error
    except DECODER_ERRORS as error:
        raise ImageRefused(DAMAGED) from error
    return image


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageRefused(
            f"The picture has {width} × {height} pixels, more than {MAX_PIXELS // 10**6} megapixels; make it smaller."
        )
    if min(width, height) < MIN_SIDE:
        raise ImageRefused(f"The picture has {width} × {height} pixels; at least {MIN_SIDE} × {MIN_SIDE} are needed.")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageRefused(
            f"The picture has {width} × {height} pixels, and its longer side is more than {MAX_ASPECT} times its "
            "shorter one; give the whole picture, not a strip."
        )


def _has_frame(image: Image.Image, number: int) -> bool:
    """Whether there is a frame of this number, counted from 0; leaves the image at the first."""
    try:
        image.seek(number)
    except DECODER_ERRORS:
        return False  # EOFError where there is none; a damaged page further on does no harm to the first
    finally:
        image.seek(0)
    return True
