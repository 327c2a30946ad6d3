"""The first frame of a file that Pillow or one of its plugins reads."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image

from src.pictures.decoder_errors import DECODER_ERRORS, refused_if_damaged
from src.pictures.limits import MAX_FRAMES, MAX_PIXELS
from src.pictures.picture import ImageRefused
from src.pictures.reasons import TOO_MANY_FRAMES
from src.pictures.size import check_size

FIRST_ONLY = "The file holds several frames or pages; only the first or main one was read."


def opened(data: bytes, name: str, notes: list[str], most: int = MAX_PIXELS) -> Image.Image:
    """The first frame, not decoded yet, of a file in the format that Pillow calls `name`.

    `most`: pixels it may have. Adds a sentence to `notes` where there are further frames. Raises ImageRefused.
    """
    # Pillow raises above 179 megapixels and warns above 89. Our own check follows at once, so the warning needs no
    # global filter, which would be the only way to make it an error (catch_warnings is not thread-safe).
    return checked(lambda: Image.open(BytesIO(data), formats=(name,)), notes, most)


def checked(open_it: Callable[[], Image.Image], notes: list[str], most: int = MAX_PIXELS) -> Image.Image:
    """The image that `open_it` opens, with the checks of `opened`."""
    with refused_if_damaged():
        image = open_it()
    check_size(*image.size, most)
    # n_frames may walk all frames. A phone's MPO (JPEG) is left out: its further frames are previews and depth maps.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        if _has_frame(image, MAX_FRAMES):
            raise ImageRefused(TOO_MANY_FRAMES)
        notes.append(FIRST_ONLY)
    return image


def loaded(image: Image.Image) -> Image.Image:
    """The same image with all pixels decoded. Raises ImageRefused if that fails."""
    with refused_if_damaged():
        image.load()
        if image.mode == "P" and image.palette:
            colours = len(image.palette.palette) // len(image.palette.mode)
            if np.asarray(image).max() >= colours:
                raise LookupError("a pixel has a colour that the palette lacks")
    return image


def first_frame(data: bytes, name: str, notes: list[str]) -> Image.Image:
    """The first frame with all pixels decoded, in the mode of the file. Arguments and errors are those of `opened`."""
    return loaded(opened(data, name, notes))


def _has_frame(image: Image.Image, number: int) -> bool:
    """Whether the image has a frame of this number, counted from 0. The image is left at the frame it is at."""
    # A HEIC opens at its primary image, which need not be its first.
    here = image.tell()
    try:
        image.seek(number)
    except DECODER_ERRORS:
        return False  # EOFError if there is none; a damaged later frame does not matter, because only the first is read
    finally:
        image.seek(here)
    return True
