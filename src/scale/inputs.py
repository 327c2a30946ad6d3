"""The images that the sources of a run name: folders, files, tables of paths, archives and addresses, in a fixed order.

Two runs with the same sources find the same images in the same order, so that shards on many machines agree on them.
"""

import csv
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, Final

import pyarrow
import pyarrow.parquet

from src.pictures import folder
from src.pictures.folder import NO_PICTURE, is_bookkeeping, is_named_as_picture
from src.read_ahead import read_ahead
from src.scale import images
from src.scale.addresses import ScaleError, asked, filesystem, is_remote, name
from src.scale.images import Image

TABLES: Final = (".csv", ".parquet")
PATH: Final = "path"
THREADS: Final = 16
"""Archives and folders of a store that are listed at the same time."""
_GLOB: Final = frozenset("*?[")


@dataclass(frozen=True)
class Inputs:
    """The images of a run.

    `images`: sorted by the file that contains them. `carried`: the further columns of the tables of paths, with a row
    for each image; None without such columns. `left_out`: paths that are no images, each with the reason. `repeats`:
    how often an image was named again.
    """

    images: Sequence[Image]
    carried: pyarrow.Table | None
    left_out: Sequence[tuple[str, str]]
    repeats: int


def find(sources: Sequence[str]) -> Inputs:
    """The images of all sources. Raises ScaleError and StoreError."""
    found: list[tuple[Image, int]] = []
    left_out: list[tuple[str, str]] = []
    tables: list[pyarrow.Table] = []
    rows = 0
    for source in sources:
        if _is_table(source):
            table, addresses = _table(source)
            found += [(_image(address), rows + index) for index, address in enumerate(addresses)]
            rows += len(addresses)
            tables.append(table)
    plain = [source for source in sources if not _is_table(source)]
    local = folder.find(source for source in plain if not is_remote(source) and not images.is_packed(source))
    packed = [path for path, _ in local.left_out if images.is_packed(path)]
    packed += [source for source in plain if not is_remote(source) and images.is_packed(source)]
    found += [(Image(path, path, error=error), -1) for path, error in local.entries]
    left_out += [(path, reason) for path, reason in local.left_out if not images.is_packed(path)]
    for listed in read_ahead(_listed, [source for source in plain if is_remote(source)], THREADS, 2 * THREADS):
        found += [(image, -1) for image in listed.images]
        left_out += listed.left_out
        packed += listed.packed
    for members in read_ahead(_members, packed, THREADS, 2 * THREADS):
        found += [(image, -1) for image in members]
    return _sorted(found, left_out, tables, rows)


def whole_table(content: BytesIO) -> pyarrow.Table:
    """The table of a Parquet file, read to its end, with its checksums. Raises pyarrow.ArrowException and OSError.

    pyarrow starts no thread for it: its threads sometimes abort a process that ends soon after.
    """
    file: Any = pyarrow.parquet.ParquetFile(content, pre_buffer=False, page_checksum_verification=True)
    return file.read(use_threads=False)


def _sorted(
    found: Iterable[tuple[Image, int]], left_out: list[tuple[str, str]], tables: list[pyarrow.Table], rows: int
) -> Inputs:
    kept: dict[str, tuple[Image, int]] = {}
    count = 0
    for image, row in found:
        count += 1
        other = kept.setdefault(image.path, (image, row))[0]
        if other.address != image.address:
            raise ScaleError(f"Two addresses differ only in their query, so both would be called {image.path}.")
    # Images of one archive stay together.
    ordered = sorted(kept.values(), key=lambda one: (name(one[0].address), one[0].span or (0, 0), one[0].path))
    carried = None
    if any(table.num_columns > 1 for table in tables):
        try:
            whole = pyarrow.concat_tables(tables, promote_options="default").drop_columns([PATH])
        except pyarrow.ArrowException as error:
            raise ScaleError("The tables of paths have columns with one name and different types.") from error
        # An image that no table names has a row of nulls, which is the last.
        nulls = pyarrow.table({field.name: pyarrow.nulls(1, field.type) for field in whole.schema}, schema=whole.schema)
        whole = pyarrow.concat_tables([whole, nulls])
        carried = whole.take([row if row >= 0 else rows for _, row in ordered])
    return Inputs([image for image, _ in ordered], carried, left_out, count - len(kept))


def _is_table(source: str) -> bool:
    return name(source).lower().endswith(TABLES)


def _image(address: str) -> Image:
    return Image(name(address), address)


def _members(address: str) -> list[Image]:
    return list(images.members(name(address), address))


@dataclass(frozen=True)
class _Listed:
    images: Sequence[Image]
    packed: Sequence[str]
    left_out: Sequence[tuple[str, str]]


def _listed(source: str) -> _Listed:
    """The images, the archives and the other files at an address. Of a folder, names say which files are images."""
    called = name(source)
    pattern = bool(_GLOB & set(called))  # the question mark of a web address is none
    if images.is_packed(called) and not pattern:
        return _Listed([], [source], [])
    if is_named_as_picture(called) and not pattern:
        return _Listed([_image(source)], [], [])
    files, root = filesystem(source)
    try:
        paths = asked(called, lambda: files.glob(root) if pattern else files.find(root))
    except FileNotFoundError:
        paths = []
    except PermissionError as error:
        raise ScaleError(f"{called} may not be listed.") from error
    if paths == [root]:
        # A file that is named is an image, whatever its name is.
        return _Listed([_image(source)], [], [])
    addresses = [files.unstrip_protocol(path) for path in sorted(paths) if not is_bookkeeping(path)]
    packed = [address for address in addresses if images.is_packed(address)]
    found = [_image(address) for address in addresses if is_named_as_picture(address)]
    left_out = [
        (name(address), images.NOT_AN_IMAGE)
        for address in addresses
        if not is_named_as_picture(address) and not images.is_packed(address)
    ]
    return _Listed(found if found or packed else [Image(called, source, error=NO_PICTURE)], packed, left_out)


def _table(source: str) -> tuple[pyarrow.Table, list[str]]:
    """A table of paths, and the path or address of each row. Raises ScaleError."""
    called = name(source)
    content = BytesIO(_content(source))
    try:
        table = _csv(content) if called.lower().endswith(".csv") else whole_table(content)
    except (pyarrow.ArrowException, csv.Error, UnicodeDecodeError) as error:
        raise ScaleError(f"{called} is no table that can be read.") from error
    if table.column_names.count(PATH) != 1:
        raise ScaleError(f"{called} needs one column {PATH}.")
    paths: list[Any] = table[PATH].to_pylist()
    for number, path in enumerate(paths, 1):
        if not isinstance(path, str) or not path:
            raise ScaleError(f"Row {number} of {called} has no path.")
    parent = source.rpartition("/")[0] if is_remote(source) else str(Path(source).parent)
    return table, [_joined(parent, path, is_remote(source)) for path in paths]


def _csv(content: BytesIO) -> pyarrow.Table:
    """A CSV whose cells all are texts, so that 007 stays 007. Not by pyarrow, whose reader starts threads.

    Raises csv.Error and UnicodeDecodeError.
    """
    rows = csv.reader(TextIOWrapper(content, encoding="utf-8-sig", newline=""), strict=True)
    header, *cells = [row for row in rows if row] or [[]]
    if any(len(row) != len(header) for row in cells):
        raise csv.Error("The rows differ in length.")
    columns = [pyarrow.array([row[at] for row in cells], pyarrow.string()) for at in range(len(header))]
    return pyarrow.Table.from_arrays(columns, names=header)


def _content(source: str) -> bytes:
    called = name(source)
    try:
        if not is_remote(source):
            return Path(source).read_bytes()
        files, path = filesystem(source)
        return asked(called, lambda: files.cat_file(path))
    except OSError as error:
        raise ScaleError(f"{called} cannot be read.") from error


def _joined(parent: str, path: str, remote: bool) -> str:
    """A path of a table, which is relative to the table's folder."""
    if is_remote(path):
        return path
    return posixpath.join(parent, path) if remote else str(Path(parent, path))
