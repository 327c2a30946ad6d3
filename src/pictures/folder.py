"""Folders -> the files in them that are pictures, and the names and reasons of those that are not.

The first bytes of a file decide, not its suffix. A suffix only adds: a file that is named as a picture and is none gets
an entry, so that a damaged picture is not lost without a word.
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
)
"""Of files that are named as pictures, in lower case."""

START: Final = 4096
"""Bytes that are read of each file to recognise it."""

UNREADABLE_FOLDER: Final = "This folder cannot be read."
NO_PICTURE: Final = "There is no picture in this folder."
NOT_A_PICTURE: Final = "Not a picture."
NOT_A_FILE: Final = "Not an ordinary file."
LINKED_FOLDER: Final = "A link to a folder is not followed."

_BOOKKEEPING: Final = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
_DOCUMENTS: Final = (b"PK\x03\x04", b"PK\x05\x06", b"%PDF", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf", b"Rar!")
"""First bytes of documents and archives; a spreadsheet is a zip. They are no pictures, whatever they hold."""
_CONTROL: Final = frozenset(range(32)) - frozenset(b"\t\n\v\f\r\x1b")


@dataclass
class Found:
    """What a search found. `entries` are paths, each with None or why it cannot be read; `left_out` are paths of files
    that are no pictures, each with the reason."""

    entries: list[tuple[str, str | None]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def is_bookkeeping(path: str) -> bool:
    """Whether macOS or Windows keeps this file beside people's own: `._*`, .DS_Store, Thumbs.db and the like."""
    parts = PurePath(path).parts
    return "__MACOSX" in parts or (bool(parts) and (parts[-1].startswith("._") or parts[-1].lower() in _BOOKKEEPING))


def is_named_as_picture(name: str) -> bool:
    """Whether a file's name ends as a picture's; spaces and dots after the suffix do not count."""
    return name.rstrip(" .").lower().endswith(SUFFIXES)


def find(paths: Iterable[str]) -> Found:
    """The files that `paths` (files and folders) stand for, in order, each once. A file that is named itself is an
    entry, whatever it holds."""
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
    """Why a file is no picture, by its first bytes; None where it is one, is refused as one, or cannot be opened."""
    try:
        # A pipe or a device would block for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
            return NOT_A_FILE
        with Path(path).open("rb") as file:
            start = file.read(START)
    except OSError:
        return None  # reading it says why
    named = refusal_by_name(start)
    if start.startswith(_DOCUMENTS) or _is_text(start):
        return named or NOT_A_PICTURE
    return None if named or recognised(start) else NOT_A_PICTURE


def _is_text(start: bytes) -> bool:
    """Whether a file begins as a text does: without the control characters that the header of any picture has.

    Else a table whose first column is "BMI" would be taken for a BMP.
    """
    return _CONTROL.isdisjoint(start)
