"""Folders -> the files in them that are pictures, and the other files with the reason why they are left out.

The first bytes of a file decide, not its suffix. A file whose suffix is a picture's is an entry in any case, so that a
damaged picture is reported and not passed over.
"""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final

from src.pictures.formats import recognised
from src.pictures.reasons import refusal_by_name

SUFFIXES: Final = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".tif",
    ".tiff",
    ".bmp",
    ".heic",
    ".heif",
    ".avif",
    ".jp2",
    ".jxl",
    ".gif",
    ".dcm",
    ".dicom",
)
"""The suffixes of pictures, in lower case."""

START: Final = 4096
"""Bytes that are read of each file to recognise it."""

UNREADABLE_FOLDER: Final = "This folder cannot be read."
NO_PICTURE: Final = "There is no image in this folder."
NOT_A_PICTURE: Final = "Not an image."
NOT_A_FILE: Final = "Not an ordinary file."
LINKED_FOLDER: Final = "A link to a folder is not followed."

_BOOKKEEPING: Final = frozenset({".ds_store", "thumbs.db", "desktop.ini", "dicomdir"})
_DOCUMENTS: Final = (b"PK\x03\x04", b"PK\x05\x06", b"%PDF", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf", b"Rar!")
"""The first bytes of documents and archives; a spreadsheet is a zip. These files count as no pictures."""
_CONTROL: Final = frozenset(range(32)) - frozenset(b"\t\n\v\f\r\x1b")


@dataclass
class Found:
    """The result of a search.

    `entries` are the paths to read; each has None, or a sentence on why it cannot be read. `left_out` are the paths of
    files that are no pictures, each with the reason.
    """

    entries: list[tuple[str, str | None]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def is_bookkeeping(path: str) -> bool:
    """Whether macOS or Windows created this file for itself, as `._*`, .DS_Store and Thumbs.db, or it is the table of
    contents of a DICOM folder.
    """
    parts = PurePath(path).parts
    return "__MACOSX" in parts or (bool(parts) and (parts[-1].startswith("._") or parts[-1].lower() in _BOOKKEEPING))


def is_named_as_picture(name: str) -> bool:
    """Whether a file's name has the suffix of a picture. Spaces and dots after the suffix are ignored."""
    return name.rstrip(" .").lower().endswith(SUFFIXES)


def find(paths: Iterable[str]) -> Found:
    """The files among `paths` and in the folders among `paths`, in order and without repeats.

    A file that `paths` names directly is an entry, whatever its content is.
    """
    entries: dict[str, tuple[str, str | None]] = {}
    left_out: dict[str, tuple[str, str]] = {}
    for path in paths:
        inside = _search(path) if os.path.isdir(path) else Found([(path, None)])  # noqa: PTH112 - false for odd names
        for entry in inside.entries:
            entries.setdefault(os.path.abspath(entry[0]), entry)  # noqa: PTH100 - "a/../b" is "b" here
        for other in inside.left_out:
            left_out.setdefault(os.path.abspath(other[0]), other)  # noqa: PTH100
    return Found(list(entries.values()), [other for key, other in left_out.items() if key not in entries])


def _search(folder: str) -> Found:
    found, unreadable = Found(), list[OSError]()
    for parent, folders, names in os.walk(folder, onerror=unreadable.append):
        folders[:] = [name for name in folders if name != "__MACOSX"]
        found.left_out += [
            (link, LINKED_FOLDER)
            for name in folders
            if os.path.islink(link := str(Path(parent, name)))  # noqa: PTH114
        ]
        for name in names:
            path = str(Path(parent, name))
            if is_bookkeeping(name):
                continue
            reason = _why_left_out(path)
            if reason is None or is_named_as_picture(name):
                found.entries.append((path, None))
            else:
                found.left_out.append((path, reason))
    found.entries += [(str(error.filename), UNREADABLE_FOLDER) for error in unreadable]
    return Found(sorted(found.entries) or [(folder, NO_PICTURE)], sorted(found.left_out))


def _why_left_out(path: str) -> str | None:
    """Why a file is no picture, from its first bytes. None if it is a picture, or if reading it will give a reason."""
    try:
        # A pipe or a device would block for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
            return NOT_A_FILE
        with Path(path).open("rb") as file:
            start = file.read(START)
    except OSError:
        return None  # reading it will give the reason
    named = refusal_by_name(start)
    if start.startswith(_DOCUMENTS) or _is_text(start):
        return named or NOT_A_PICTURE
    return None if named or recognised(start) else NOT_A_PICTURE


def _is_text(start: bytes) -> bool:
    """Whether a file begins like a text: without control characters, which every picture's header has.

    Without this check, a table whose first column is "BMI" would count as a BMP.
    """
    return _CONTROL.isdisjoint(start)
