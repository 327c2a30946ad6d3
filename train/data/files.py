"""Files of a dataset: tables by column, pictures by stem, and what is missing of them. Knows no dataset."""

import csv
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from zipfile import BadZipFile

import openpyxl

from src.pictures.folder import is_named_as_picture
from train.data.samples import DataMissing


def table(source: str, root: Path, path: Path, columns: Collection[str]) -> list[dict[str, str]]:
    """The rows of a comma- or tab-separated file with a header; `DataMissing` where it or a column is not there."""
    if not path.is_file():
        raise DataMissing(source, root, f"{path.name} is not there")
    with path.open(newline="", encoding="utf-8-sig") as lines:
        delimiter = "\t" if "\t" in lines.readline() else ","
        lines.seek(0)
        reader = csv.DictReader(lines, delimiter=delimiter)
        _require_columns(source, root, path, columns, reader.fieldnames or ())
        return list(reader)


def spreadsheet(source: str, root: Path, path: Path, columns: Collection[str]) -> list[dict[str, str]]:
    """The rows of an Excel file's first sheet, as `table` gives them: every cell as text, an empty one as ""."""
    if not path.is_file():
        raise DataMissing(source, root, f"{path.name} is not there")
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (BadZipFile, KeyError, OSError, ValueError) as error:
        raise DataMissing(source, root, f"{path.name} is not whole ({error})") from error
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
    """Stem -> path of the pictures right in a folder, by stem as copies change the suffix. Leaves empty files out."""

    def found() -> Iterator[Path]:
        if folder.is_dir():
            for path in folder.iterdir():
                if is_named_as_picture(path.name) and not path.name.startswith(".") and path.stat().st_size:
                    yield path

    # Of two suffixes the first by name wins, on every file system.
    return {path.stem: path for path in sorted(found(), reverse=True)}


def require(source: str, root: Path, wanted: Iterable[str], have: Collection[str], listed: str) -> None:
    """Raise `DataMissing` with the count and the first name where not all that is wanted is there."""
    names = list(wanted)
    missing = sorted(name for name in names if name not in have)
    if missing:
        count = f"{len(missing):,} of {len(names):,} images {listed}"
        raise DataMissing(source, root, f"{count} are not there or are empty, first {missing[0]}")
