"""A zip of images -> its members, one by one, or a refusal with its reason. A zip is read in memory, never on disk.

This module knows zip files and the limits of a public demo. It does not know image formats (`src/pictures/decode.py`).
An archive is not trusted: its directory is checked before anything is decompressed, and decompression stops at the
limit.
"""

import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from src.pictures.folder import is_bookkeeping
from src.pictures.limits import MAX_BYTES
from src.pictures.member_names import names

MAX_ENTRIES: Final = 2_000
"""Folders and the entries that macOS adds count too, because zipfile creates an object for each before we see it."""
MAX_RATIO: Final = 100
"""Decompressed bytes per stored byte. A BMP of a drawing may reach 50, a zip bomb 1,000, the maximum of deflate."""
MAX_NAME: Final = 255
"""The number of characters of a name, folders included."""

MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06")  # the second is for an empty zip
ARCHIVES: Final = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")

_ENTRY: Final = b"PK\x01\x02"
_LOCAL: Final = struct.Struct("<4s22x2H")
_DRIVE: Final = re.compile("[A-Za-z]:")
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

DAMAGED: Final = "This archive is cut off or damaged; pack it again."
DAMAGED_MEMBER: Final = "It is damaged in the archive; pack it again."
TOO_MANY: Final = f"This archive has more than {MAX_ENTRIES:,} entries."

LINK: Final = "A link is not followed."
ENCRYPTED: Final = "It is encrypted; pack it without a password."
NESTED: Final = "An archive within an archive is not opened."
OUTSIDE: Final = "Its path leads out of the archive."
ODD_NAME: Final = f"Its name is empty, longer than {MAX_NAME} characters or holds characters that cannot be printed."
OVERLAP: Final = "It shares bytes with another entry of the archive; ordinary archives never do that."
PACKED: Final = "Its compression method is not supported; pack it as an ordinary zip (deflate)."
TOO_LARGE: Final = f"It has more than {MAX_BYTES // 10**6} MB."
BOMB: Final = f"It expands to more than {MAX_RATIO} times its size; no image does that."

# The exceptions of zipfile and zlib for malformed archives: BadZipFile (structure, checksum), zlib.error (bad stream),
# NotImplementedError and RuntimeError (versions, patched data, passwords), EOFError (cut off), ValueError and
# struct.error (offsets, extra fields), OSError (a seek before the start). UnicodeDecodeError is a ValueError.
_ERRORS: Final = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError, struct.error, OSError)


class ArchiveRefused(ValueError):  # noqa: N818 - a refusal, as ImageRefused
    """The archive or the member cannot be read. The message is one sentence for the person who uploaded it."""


@dataclass(frozen=True)
class Member:
    """One file of an archive.

    `name`: its printable name. `size`: its size in bytes, as the archive claims it. `index`: its place in the archive's
    directory. `refusal`: one sentence on why it is not read; None if it can be read.
    """

    name: str
    size: int
    index: int
    refusal: str | None = None


def is_archive(start: bytes) -> bool:
    """Whether a file whose first bytes are `start` is a zip."""
    return start.startswith(MAGIC)


class Archive:
    """A zip in memory.

    `members`: its files in the zip's order, without folders and the files that macOS and Windows add. Raises
    ArchiveRefused if the zip is damaged or has too many entries.
    """

    def __init__(self, data: bytes) -> None:
        # Each entry of the directory begins with these bytes, so there are no more entries than occurrences. They are
        # counted in the bytes, because zipfile ignores the archive's own count and creates an object per entry.
        if data.count(_ENTRY) > MAX_ENTRIES:
            raise ArchiveRefused(TOO_MANY)
        try:
            self._zip = zipfile.ZipFile(BytesIO(data))
        except _ERRORS as error:
            raise ArchiveRefused(DAMAGED) from error
        self._entries = self._zip.infolist()
        refused = _overlapping(data[: self._zip.start_dir], self._entries)
        self.members = [
            Member(printable(name), entry.file_size, index, _refusal(entry, name) or refused.get(index))
            for index, (entry, name) in enumerate(zip(self._entries, names(self._entries), strict=True))
            if not name.endswith("/") and not is_bookkeeping(name)
        ]

    def read(self, member: Member) -> bytes:
        """The content of one of `members`.

        Raises ArchiveRefused if the member is refused, is damaged or does not have the size that the archive claims.
        """
        if member.refusal:
            raise ArchiveRefused(member.refusal)
        try:
            # zipfile stops at the size in the directory, even if the compressed stream is longer.
            with self._zip.open(self._entries[member.index]) as file:
                content = file.read(MAX_BYTES + 1)
        except _ERRORS as error:
            raise ArchiveRefused(DAMAGED_MEMBER) from error
        if len(content) != self._entries[member.index].file_size:
            raise ArchiveRefused(DAMAGED_MEMBER)
        return content


def printable(name: str) -> str:
    """A name that can be displayed, in NFC: at most MAX_NAME characters, with escapes for unprintable ones."""
    name = unicodedata.normalize("NFC", name[: 4 * MAX_NAME])
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name[: MAX_NAME + 1])
    return shown if len(shown) <= MAX_NAME else f"{shown[: MAX_NAME - 1]}…"


def _refusal(entry: zipfile.ZipInfo, name: str) -> str | None:
    # On Windows a backslash separates folders. A colon follows a drive only after one letter; macOS has it in names.
    parts = name.replace("\\", "/").split("/")
    if not parts[-1].strip() or len(name) > MAX_NAME or not name.isprintable():
        return ODD_NAME
    if parts[0] == "" or _DRIVE.fullmatch(parts[0]) or ".." in parts:
        return OUTSIDE
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        return LINK
    if entry.flag_bits & 0x41:
        return ENCRYPTED
    if entry.compress_type not in _METHODS:
        return PACKED
    if name.lower().endswith(ARCHIVES):
        return NESTED
    if entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
        return BOMB
    return TOO_LARGE if entry.file_size > MAX_BYTES else None


def _overlapping(data: bytes, entries: Sequence[zipfile.ZipInfo]) -> dict[int, str]:
    """The refusals, by index, of entries that share bytes with another entry or reach beyond `data`.

    `data`: the archive's bytes before its directory. Python before 3.12.3 opens overlapping entries (CVE-2024-0450), so
    that one compressed stream can be used a thousand times.
    """
    refusals, spans = {}, []
    for index, entry in enumerate(entries):
        start = entry.header_offset
        header = data[start : start + _LOCAL.size] if start >= 0 else b""
        if len(header) == _LOCAL.size and header.startswith(b"PK\x03\x04"):
            name, extra = _LOCAL.unpack(header)[1:]
            end = start + _LOCAL.size + name + extra + entry.compress_size
            if end <= len(data):
                spans.append((start, end, index))
                continue
        refusals[index] = DAMAGED_MEMBER
    furthest, holder = 0, -1
    for start, end, index in sorted(spans):
        if start < furthest:
            refusals |= dict.fromkeys((index, holder), OVERLAP)
        if end > furthest:
            furthest, holder = end, index
    return refusals
