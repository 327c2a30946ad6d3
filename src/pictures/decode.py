"""A file's bytes or its path -> an upright 8-bit RGB picture, or a refusal that says why.

The only place that decodes a picture. It knows the decoders and the limits of a public demo. It knows no network, no
input size, no threshold and no page, and it never judges what a picture shows.

A file passes through these steps, each in its own module: `formats` recognises it, or `reasons` refuses it by name;
its `count_parts` bounds the work, its `first_frame` decodes it to 8 bits a channel, `colour` makes it RGB in sRGB, and
`orientation` turns it upright.
"""

import os
from pathlib import Path

from PIL import Image

from src.pictures import resolution
from src.pictures.colour import Background, to_rgb
from src.pictures.decoder_errors import refused_if_damaged
from src.pictures.formats import Format, recognised
from src.pictures.jpeg import REDUCTION
from src.pictures.limits import MAX_BYTES, MAX_PARTS, MAX_SCANS
from src.pictures.orientation import upright
from src.pictures.picture import ImageRefused, Picture
from src.pictures.reasons import NOT_A_PICTURE, TOO_MANY_PARTS, refusal_by_name

Source = str | os.PathLike[str] | bytes | None
"""The path of a file, or its bytes."""


def read(source: Source, background: Background, most: int = MAX_BYTES) -> Picture:
    """Decode one picture from a path or from the file's bytes; both give the same result.

    The file's bytes decide what it is, not its suffix. Transparent parts are filled with `background`, which the task's
    record names. `most`: the bytes that the file may have. Raises ImageRefused, and nothing else, whatever the
    file holds.
    """
    data = _contents(source, most)
    notes: list[str] = []
    return _picture(_format(data).first_frame(data, notes), background, notes)


class Film:
    """The frames of a file, of which most files have one: `count` is their number. Each is decoded when it is read.

    Takes the arguments of `read`, and raises ImageRefused as it does.
    """

    def __init__(self, source: Source, background: Background, most: int = MAX_BYTES) -> None:
        self._data, self._background = _contents(source, most), background
        self._format = _format(self._data)
        self._frames = self._format.frames(self._data) if self._format.frames else None
        self.count = self._frames.count if self._frames else 1

    def picture(self, index: int = 0) -> Picture:
        """One frame, counted from 0."""
        notes: list[str] = []
        if self._frames is None:
            frame = self._format.first_frame(self._data, notes)
        else:
            frame = self._frames.frame(index, notes)
        return _picture(frame, self._background, notes)


def _picture(frame: Image.Image, background: Background, notes: list[str]) -> Picture:
    image = upright(to_rgb(frame, background, notes), frame, notes)
    mpp, spacing = resolution.plausible(frame.info), resolution.millimetres(frame.info)
    return Picture(image, tuple(notes), mpp, frame.info.get(REDUCTION, 1), spacing)


def _contents(source: Source, most: int) -> bytes:
    if isinstance(source, bytes):
        data, size = source, len(source)
    else:
        if not isinstance(source, str | os.PathLike) or not os.fspath(source):
            raise ImageRefused("No image was given.")
        try:
            # A pipe or device would block for ever or never end; a text with a null byte is no path (ValueError).
            if not Path(source).is_file():
                raise ImageRefused("There is no such file.")
            with Path(source).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                data = b"" if size > most else file.read(most + 1)
        except OSError as error:
            raise ImageRefused("The file could not be opened.") from error
        size = max(size, len(data))
    if size > most:
        raise ImageRefused(
            f"The file has {size / 1e6:.1f} MB; at most {most // 10**6} MB are read. "
            "Save it as JPEG, or with fewer pixels."
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
    with refused_if_damaged():
        scans, parts = found.count_parts(data)
    if scans > MAX_SCANS or parts > MAX_PARTS:
        raise ImageRefused(TOO_MANY_PARTS)
    return found
