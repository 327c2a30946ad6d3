"""The first frame of a file that Pillow, or a plugin of it, reads."""

from collections.abc import Callable
from io import BytesIO

from PIL import Image

from src.pictures.decoder_errors import DECODER_ERRORS, refused_if_damaged
from src.pictures.limits import MAX_FRAMES, MAX_PIXELS
from src.pictures.picture import ImageRefused
from src.pictures.reasons import TOO_MANY_FRAMES
from src.pictures.size import check_size

FIRST_ONLY = "The file holds several frames or pages; only the first was read."


def opened(data: bytes, name: str, notes: list[str], most: int = MAX_PIXELS) -> Image.Image:
    """The first frame, not decoded yet, of a file in the format that Pillow calls `name`.

    `most`: pixels it may have. Adds a sentence to `notes` where there are further frames. Raises ImageRefused.
    """
    # Pillow raises above 179 megapixels and warns above 89. The warning cannot be made an error here without a global
    # filter (catch_warnings is not thread-safe), and need not be: our own check follows at once.
    return checked(lambda: Image.open(BytesIO(data), formats=(name,)), notes, most)


def checked(open_it: Callable[[], Image.Image], notes: list[str], most: int = MAX_PIXELS) -> Image.Image:
    """What `open_it` opens, within the limits; otherwise as `opened`."""
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
    """The frame with every pixel read. Raises ImageRefused where that fails."""
    with refused_if_damaged():
        image.load()
    return image


def first_frame(data: bytes, name: str, notes: list[str]) -> Image.Image:
    """The first frame, with every pixel read, in whatever mode the file has; otherwise as `opened`."""
    return loaded(opened(data, name, notes))


def _has_frame(image: Image.Image, number: int) -> bool:
    """Whether there is a frame of this number, counted from 0; leaves the image at the first."""
    try:
        image.seek(number)
    except DECODER_ERRORS:
        return False  # EOFError where there is none; a damaged frame further on does no harm to the first
    finally:
        image.seek(0)
    return True
