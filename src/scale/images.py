"""One image of a run: where its bytes are, and how they are fetched. Knows nothing of the folders that name it."""

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from src.pictures.archive import DAMAGED, DAMAGED_MEMBER, ENCRYPTED
from src.pictures.folder import is_bookkeeping, is_named_as_picture
from src.pictures.limits import MAX_LOCAL_BYTES
from src.pictures.picture import ImageRefused
from src.scale.addresses import asked, filesystem, is_remote

NO_FILE: Final = "There is no such file."
FORBIDDEN: Final = "This file may not be read."
COMPRESSED: Final = "A compressed tar cannot be read in parts; pack it again without compression."
NOT_AN_IMAGE: Final = "Its name is not that of an image."
ARCHIVES: Final = (".tar", ".zip")
COMPRESSED_ARCHIVES: Final = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_DAMAGES: Final = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is to be read.

    `path`: what its row calls it. `address`: the path or address of the file that contains it. `span`: the offset and
    the number of its bytes in a tar; `member`: its name in a zip; both are None for a file of its own. `error`: one
    sentence on why it cannot be read, or None.
    """

    path: str
    address: str
    span: tuple[int, int] | None = None
    member: str | None = None
    error: str | None = None

    @property
    def source(self) -> str | Callable[[], bytes]:
        """What the predictor reads: a path on this machine, or a function that fetches the bytes."""
        return self.address if self.span is None and self.member is None and not is_remote(self.address) else self.fetch

    def fetch(self) -> bytes:
        """The bytes of the image, at most one more than MAX_LOCAL_BYTES.

        Raises ImageRefused where a further try would not help, and StoreError where it may.
        """
        try:
            return asked(self.path, self._bytes)
        except FileNotFoundError:
            raise ImageRefused(NO_FILE) from None
        except PermissionError:
            raise ImageRefused(FORBIDDEN) from None

    def _bytes(self) -> bytes:
        if self.member is not None:
            return _of_zip(self.address, self.member)
        start, size = self.span or (0, MAX_LOCAL_BYTES + 1)
        files, path = filesystem(self.address)
        return files.cat_file(path, start=start, end=start + min(size, MAX_LOCAL_BYTES + 1))


def members(path: str, address: str) -> Iterator[Image]:
    """The images of a tar or zip at `address`, which rows call `path`. Only the names say which members are images.

    An archive that cannot be read is an image with an error. Raises StoreError.
    """
    if path.lower().endswith(COMPRESSED_ARCHIVES):
        yield Image(path, address, error=COMPRESSED)
        return
    listing = _zip_members if path.lower().endswith(".zip") else _tar_members
    try:
        yield from asked(path, lambda: listing(path, address))
    except FileNotFoundError:
        yield Image(path, address, error=NO_FILE)
    except PermissionError:
        yield Image(path, address, error=FORBIDDEN)
    except ImageRefused as refusal:
        yield Image(path, address, error=str(refusal))


def is_packed(path: str) -> bool:
    """Whether a path is named as an archive whose members are read."""
    return path.lower().endswith((*ARCHIVES, *COMPRESSED_ARCHIVES))


def _tar_members(path: str, address: str) -> list[Image]:
    files, inside = filesystem(address)
    # Only the headers are read, so that a store sends a few hundred bytes for each member.
    caching = {"cache_type": "none"} if is_remote(address) else {}
    found = []
    try:
        with files.open(inside, "rb", **caching) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isreg() and not member.issparse() and _is_image(member.name):
                    span = member.offset_data, member.size
                    found.append(Image(f"tar://{member.name}::{path}", address, span=span))
    except _DAMAGES as error:
        raise ImageRefused(DAMAGED) from error
    return found


def _zip_members(path: str, address: str) -> list[Image]:
    try:
        entries = [entry for entry in _opened(address).infolist() if not entry.is_dir() and _is_image(entry.filename)]
    except _DAMAGES as error:
        raise ImageRefused(DAMAGED) from error
    return [
        Image(
            f"zip://{entry.filename}::{path}",
            address,
            member=entry.filename,
            error=ENCRYPTED if entry.flag_bits & 0x41 else None,
        )
        for entry in entries
    ]


def _of_zip(address: str, member: str) -> bytes:
    try:
        with _opened(address).open(member) as file:
            return file.read(MAX_LOCAL_BYTES + 1)
    except _DAMAGES:
        raise ImageRefused(DAMAGED_MEMBER) from None


@lru_cache(maxsize=4)
def _opened(address: str) -> zipfile.ZipFile:
    """A zip, whose table of contents is read once. Threads may read its members at the same time."""
    files, inside = filesystem(address)
    return zipfile.ZipFile(files.open(inside, "rb"))


def _is_image(member: str) -> bool:
    return is_named_as_picture(member) and not is_bookkeeping(member)
