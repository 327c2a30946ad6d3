"""The files of a dataset: tables, images by file name, and a check that none is missing.

This module knows no particular dataset.
"""

import csv
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from zipfile import BadZipFile

import openpyxl

from src.pictures.folder import is_named_as_picture
from train.data.samples import DataMissing


def table(source: str, root: Path, path: Path, columns: Collection[str]) -> list[dict[str, str]]:
    """The rows of a comma- or tab-separated file with a header. Raises `DataMissing` if it or a column is missing."""
    if not path.is_file():
        raise DataMissing(source, root, f"{path.name} is missing")
    with path.open(newline="", encoding="utf-8-sig") as lines:
        delimiter = "\t" if "\t" in lines.readline() else ","
        lines.seek(0)
        reader = csv.DictReader(lines, delimiter=delimiter)
        _require_columns(source, root, path, columns, reader.fieldnames or ())
        return list(reader)


def spreadsheet(source: str, root: Path, path: Path, columns: Collection[str]) -> list[dict[str, str]]:
    """The rows of the first sheet of an Excel file, as `table` gives them: each cell is text, an empty cell is ""."""
    if not path.is_file():
        raise DataMissing(source, root, f"{path.name} is missing")
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (BadZipFile, KeyError, OSError, ValueError) as error:
        raise DataMissing(source, root, f"{path.name} is damaged ({error})") from error
    rows = [["" if cell is None else str(cell) for cell in row] for row in book.worksheets[0].values]
    book.close()
    header = rows[0] if rows else []
    _require_columns(source, root, path, columns, header)
    return [dict(zip(header, row, strict=True)) for row in rows[1:] if any(row)]


def _require_columns(source: str, root: Path, path: Path, wanted: Collection[str], have: Collection[str]) -> None:
    absent = [column for column in wanted if column not in have]
    if absent:
        raise DataMissing(source, root, f"{path.name} has no column {', '.join(absent)}")


def pictures(folder: Path) -> dict[str, Path]:
    """The images directly in a folder, by stem because copies change the suffix. Empty files are left out."""

    def found() -> Iterator[Path]:
        if folder.is_dir():
            for path in folder.iterdir():
                if is_named_as_picture(path.name) and not path.name.startswith(".") and path.stat().st_size:
                    yield path

    # If two files have one stem, the first by name is used, on every file system.
    return {path.stem: path for path in sorted(found(), reverse=True)}


def require(source: str, root: Path, wanted: Iterable[str], have: Collection[str], listed: str) -> None:
    """Raise `DataMissing` unless `have` contains all `wanted` names; the message has their number and the first one."""
    names = list(wanted)
    missing = sorted(name for name in names if name not in have)
    if missing:
        count = f"{len(missing):,} of {len(names):,} images {listed}"
        raise DataMissing(source, root, f"{count} are missing or empty, first {missing[0]}")
