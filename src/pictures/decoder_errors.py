"""The errors of the decoders, and the refusals that they become."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from PIL import Image

from src.pictures.picture import ImageRefused
from src.pictures.reasons import DAMAGED, TOO_MANY_PIXELS, TOO_MUCH_MEMORY

DECODER_ERRORS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""The errors that Pillow, pillow-heif, tifffile and imagecodecs raise on malformed files.

When Pillow read all formats, 260,000 mutated files raised OSError (truncated, broken stream, libwebp,
UnidentifiedImageError), SyntaxError (broken chunk or marker), ValueError (text or profile too large, unknown mode),
TypeError (a tag of another type), OverflowError, struct.error and the bomb error. The libraries use the same tables,
tags and sizes unchecked elsewhere, where they can raise EOFError, LookupError, AttributeError, AssertionError,
ZeroDivisionError, RuntimeError (recursion, not implemented, all of imagecodecs), MemoryError and zlib.error."""


@contextmanager
def refused_if_damaged() -> Iterator[None]:
    """Raise ImageRefused if a decoder fails. Elsewhere it would hide faults of ours."""
    try:
        yield
    except ImageRefused:
        raise
    except MemoryError as error:
        raise ImageRefused(TOO_MUCH_MEMORY) from error
    except Image.DecompressionBombError as error:
        raise ImageRefused(TOO_MANY_PIXELS) from error
    except DECODER_ERRORS as error:
        raise ImageRefused(DAMAGED) from error
