"""Whether a picture's width and height are within the limits."""

from src.pictures.limits import MAX_ASPECT, MAX_PIXELS, MIN_SIDE
from src.pictures.picture import ImageRefused


def check_size(width: int, height: int, most: int = MAX_PIXELS) -> None:
    """Raise ImageRefused for a picture of `width` × `height` pixels that is too large, too small or too narrow.

    `most`: the largest number of pixels. It may exceed MAX_PIXELS if the decoder reduces the picture.
    """
    if width * height > most:
        raise ImageRefused(
            f"The image has {width} × {height} pixels, more than {most // 10**6} megapixels; make it smaller."
        )
    if min(width, height) < MIN_SIDE:
        raise ImageRefused(f"The image has {width} × {height} pixels; at least {MIN_SIDE} × {MIN_SIDE} are needed.")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageRefused(
            f"The image has {width} × {height} pixels, and its longer side is more than {MAX_ASPECT} times its "
            "shorter one; give the whole image, not a strip."
        )
