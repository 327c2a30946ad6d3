"""The bytes of a zip's names -> the names as text.

A zip has a flag for names in UTF-8. Without the flag, zipfile reads a name as cp437. The format prescribes that, but
few programs follow: macOS writes UTF-8, and Windows writes its own code page.
"""

import unicodedata
import zipfile
from collections.abc import Sequence
from typing import Final

from charset_normalizer import from_bytes

PRESCRIBED: Final = "cp437"
CODE_PAGES: Final = [
    "cp437",
    "cp850",
    "cp852",
    "cp866",
    "cp932",
    "cp949",
    "big5",
    "cp1250",
    "cp1251",
    "cp1252",
    "gb18030",
]
"""The code pages that programs for DOS and Windows write."""
SAMPLE: Final = 4096
"""The bytes of names from which an archive's code page is guessed. The limit bounds the time."""

_UTF8: Final = 0x800


def names(entries: Sequence[zipfile.ZipInfo]) -> list[str]:
    """The name of each entry with its folders, in NFC, which every system but macOS writes.

    A name without the UTF-8 flag is read as UTF-8 if its bytes allow it. All other names of an archive are read as
    cp437 if that gives Latin letters only, and in the most probable code page otherwise.
    """
    unflagged = [entry.orig_filename.encode(PRESCRIBED) for entry in entries if not entry.flag_bits & _UTF8]
    page = _code_page([name for name in unflagged if _utf8(name) is None])
    return [
        unicodedata.normalize("NFC", entry.orig_filename if entry.flag_bits & _UTF8 else _decoded(entry, page))
        for entry in entries
    ]


def _decoded(entry: zipfile.ZipInfo, page: str) -> str:
    written = entry.orig_filename.encode(PRESCRIBED)
    text = _utf8(written)
    if text is not None:
        return text
    try:
        return written.decode(page)
    except UnicodeDecodeError:
        return entry.orig_filename


def _utf8(written: bytes) -> str | None:
    try:
        return written.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _code_page(written: Sequence[bytes]) -> str:
    sample = b"\n".join(written)[:SAMPLE]
    if all(_is_latin(letter) for letter in sample.decode(PRESCRIBED)):
        return PRESCRIBED
    best = from_bytes(sample, cp_isolation=CODE_PAGES, threshold=0.4).best()
    return PRESCRIBED if best is None else best.encoding


def _is_latin(letter: str) -> bool:
    return letter.isascii() or unicodedata.name(letter, "").startswith("LATIN")
