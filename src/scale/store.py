"""The folder of results: a local folder, or a place in an object store. A file in it is whole or not there at all."""

import os
from pathlib import Path
from typing import Final
from uuid import uuid4

from fsspec.implementations.local import LocalFileSystem

from src.scale.addresses import asked, filesystem, name

UNFINISHED: Final = ".unfinished"
"""The suffix of a local file that is being written."""


class Store:
    """The files of a folder, by name. Its methods raise StoreError if the store fails, and OSError on a local disk.

    `address`: a path or an address for fsspec. Raises ScaleError.
    """

    def __init__(self, address: str) -> None:
        self.called = name(address).rstrip("/")
        self._files, root = filesystem(address)
        self._root = root.rstrip("/") or "/"

    def read(self, file: str) -> bytes | None:
        """The content of a file; None if there is no such file."""
        try:
            if isinstance(self._files, LocalFileSystem):
                return Path(self._root, file).read_bytes()
            return asked(f"{self.called}/{file}", lambda: self._files.cat_file(f"{self._root}/{file}"))
        except FileNotFoundError:
            return None

    def write(self, file: str, content: bytes) -> None:
        """Write a file, or replace it: on a disk beside it and renamed, in an object store by one put."""
        if not isinstance(self._files, LocalFileSystem):
            asked(f"{self.called}/{file}", lambda: self._files.pipe_file(f"{self._root}/{file}", content))
            return
        folder = Path(self._root)
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f".{file}.{uuid4().hex}{UNFINISHED}"
        try:
            with beside.open("wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            beside.replace(folder / file)
        finally:
            beside.unlink(missing_ok=True)

    def names(self, suffix: str) -> set[str]:
        """The names of the files that end in `suffix`. An object store may list a new file late."""
        try:
            if isinstance(self._files, LocalFileSystem):
                found = os.listdir(self._root)  # noqa: PTH208 - names, not paths
            else:
                found = asked(self.called, lambda: self._files.ls(self._root, detail=False))
        except FileNotFoundError:
            return set()
        return {path.rpartition("/")[2] for path in found if path.endswith(suffix)}

    def sweep(self) -> None:
        """Delete what killed processes left unfinished."""
        if isinstance(self._files, LocalFileSystem):
            for file in Path(self._root).glob(f".*{UNFINISHED}"):
                file.unlink(missing_ok=True)
