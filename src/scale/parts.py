"""The parts of a run: which images they have, what they are called, and the Parquet file of each.

The name of a part is a hash of everything that its rows depend on, so whoever computes it writes the same file.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import pyarrow
import pyarrow.parquet

from src.exports.csv_rows import columns, path_cell
from src.scale.addresses import ScaleError
from src.scale.images import Image
from src.scale.inputs import Inputs, whole_table
from src.scale.store import Store
from src.tasks import TASKS

SUFFIX: Final = ".parquet"
MOST_PARTS: Final = 4_000
"""As many parts are made where the two limits below allow it: enough for a thousand cores, and few enough to list."""
SMALLEST: Final = 32
"""Images of a part: one batch of the network."""
LARGEST: Final = 1_024
_METADATA: Final = b"vigil"


@dataclass(frozen=True)
class Run:
    """What the rows depend on besides the images.

    `about`: model, threshold and arguments, as JSON values. `inputs`: the number of images and `digest` of their paths.
    """

    about: Mapping[str, Any]
    inputs: Mapping[str, Any]

    @property
    def task(self) -> str:
        """The task's name."""
        return self.about["task"]

    def text(self) -> str:
        """The run as JSON."""
        return json.dumps({"run": dict(self.about), "inputs": dict(self.inputs)}, indent=1)


@dataclass(frozen=True)
class Part:
    """Images that one process reads and writes into one file.

    `carried`: the further columns of the images, or None.
    """

    name: str
    images: tuple[Image, ...]
    carried: pyarrow.Table | None = None


@dataclass(frozen=True)
class Written:
    """A part whose file is whole: its name, its rows, those with an error, the paths, and the file's SHA-256."""

    name: str
    rows: int
    errors: int
    paths: tuple[str, ...]
    sha256: str


def cell(path: str) -> str:
    """A path as a row has it."""
    return _utf8(path_cell(path))


def digest(paths: Iterable[str]) -> str:
    """The SHA-256 of paths, as hexadecimal, whatever their order."""
    return hashlib.sha256("\0".join(sorted(paths)).encode()).hexdigest()


def part_name(about: Mapping[str, Any], paths: Iterable[str]) -> str:
    """The file name of a part with these paths, as rows have them."""
    whole = json.dumps(dict(about), sort_keys=True) + "\0" + digest(paths)
    return f"part-{hashlib.sha256(whole.encode()).hexdigest()[:32]}{SUFFIX}"


def part_size(images: int) -> int:
    """The number of images of a part in a run over so many images."""
    return min(max(math.ceil(images / MOST_PARTS), SMALLEST), LARGEST)


def plan(about: Mapping[str, Any], inputs: Inputs, size: int | None) -> tuple[Run, list[Part]]:
    """The run over these images, and its parts. `size`: images of a part; None for a size by the number of images.

    Raises ScaleError where a table of paths has a column that rows have, too.
    """
    size = size or part_size(len(inputs.images))
    further = [] if inputs.carried is None else inputs.carried.column_names
    shared = sorted(set(further) & set(columns(TASKS[about["task"]])))
    if shared:
        raise ScaleError(f"The table of paths has the column {shared[0]}, which the result has, too; rename it.")
    about = {**about, "part_size": size, "carried": further}
    paths = [cell(image.path) for image in inputs.images]
    parts = []
    for start in range(0, len(paths), size):
        chosen = slice(start, start + size)
        # Copied, because a pickled slice contains the whole table.
        carried = None if inputs.carried is None else inputs.carried.take(list(range(*chosen.indices(len(paths)))))
        parts.append(Part(part_name(about, paths[chosen]), tuple(inputs.images[chosen]), carried))
    return Run(about, {"count": len(paths), "sha256": digest(paths)}), parts


def write(store: Store, task: str, part: Part, rows: Sequence[Mapping[str, str]]) -> Written:
    """Write the file of a part with these rows: the columns of the CSV, probabilities as float64, then what is carried.

    Raises StoreError and OSError.
    """
    paths = tuple(_utf8(row["path"]) for row in rows)
    fields = {name: [_value(name, row.get(name)) for row in rows] for name in columns(TASKS[task])}
    types = {name: pyarrow.float64() if _is_number(name) else pyarrow.string() for name in fields}
    table = pyarrow.table({name: pyarrow.array(values, types[name]) for name, values in fields.items()})
    if part.carried is not None:
        for name, column in zip(part.carried.column_names, part.carried.columns, strict=True):
            table = table.append_column(name, column)
    errors = sum("error" in row for row in rows)
    about = {"part": part.name, "rows": len(rows), "errors": errors}
    table = table.replace_schema_metadata({_METADATA: json.dumps(about)})
    out = BytesIO()
    pyarrow.parquet.write_table(table, out, compression="zstd", write_page_checksum=True)
    data = out.getvalue()
    store.write(part.name, data)
    return Written(part.name, len(rows), errors, paths, hashlib.sha256(data).hexdigest())


def table_of(data: bytes) -> tuple[pyarrow.Table, dict[str, Any]] | None:
    """The table of a part's file and what the file says of it; None if the file is not whole."""
    try:
        table = whole_table(BytesIO(data))
        about = json.loads((table.schema.metadata or {})[_METADATA])
        errors = table.num_rows - table["error"].null_count
    except (pyarrow.ArrowException, OSError, KeyError, ValueError):
        return None
    return (table, about) if (table.num_rows, errors) == (about["rows"], about["errors"]) else None


def written(store: Store, name: str) -> Written | None:
    """The file of a part, read to its end; None if it is not there or not whole. Raises StoreError and OSError."""
    data = store.read(name)
    if data is None or (found := table_of(data)) is None:
        return None
    table, about = found
    if about["part"] != name:
        return None
    paths = tuple(table["path"].to_pylist())
    return Written(name, about["rows"], about["errors"], paths, hashlib.sha256(data).hexdigest())


def csv_rows(task: str, table: pyarrow.Table) -> Iterable[dict[str, str]]:
    """The rows of a part as the CSV has them."""
    numbers = {name for name in columns(TASKS[task]) if _is_number(name)}
    for row in table.to_pylist():
        yield {
            name: "" if value is None else f"{value:.6f}" if name in numbers else str(value)
            for name, value in row.items()
        }


def _is_number(column: str) -> bool:
    """Whether a column of a task's rows has probabilities."""
    return column.startswith("p_")


def _value(column: str, text: str | None) -> str | float | None:
    if text is None:
        return None
    return float(text) if _is_number(column) else _utf8(text)


def _utf8(text: str) -> str:
    """A text that Parquet can store: bytes of a path that are no UTF-8 are escapes, as in the CSV."""
    return text.encode("utf-8", "backslashreplace").decode()
