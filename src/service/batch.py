"""Many pictures, loose or in zips -> a row each: what the model says, or in one sentence why it says nothing.

Pure: knows the Predictor, zips and the CSV of `src/score.py`; nothing of Gradio or HTML. What it is given are the
upload's own paths, which it neither shows nor keeps; the names it shows are what visitors call their files.
"""

import base64
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from PIL import Image
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, TypeAdapter, ValidationError

from src.exports.csv_rows import columns, row
from src.exports.spreadsheet import Writer
from src.pictures import decode
from src.pictures.archive import Archive, ArchiveRefused, is_archive, printable
from src.pictures.folder import is_bookkeeping
from src.pictures.limits import MAX_BYTES
from src.pictures.picture import ImageRefused, Picture
from src.results.gate_sentences import rejected, sentence
from src.results.thresholds import decide
from src.service.other_tasks import accepting_task
from src.service.worker_pool import Models
from src.tasks import Task

MAX_PICTURES: Final = 200
MAX_LISTED: Final = 1_000
"""Files, refused ones among them: the table has a line for each."""
MAX_SUM: Final = 10 * MAX_BYTES
"""Bytes of all pictures, as they are when taken out of their zips."""
AT_ONCE: Final = 8
"""Pictures read in one piece of work, between which others have their turn."""
THUMBNAIL: Final = 64
"""Pixels of the longer side."""

TOO_MANY: Final = f"These are more than {MAX_PICTURES} pictures; give them in parts."
TOO_MANY_FILES: Final = f"These are more than {MAX_LISTED:,} files; give them in parts."
TOO_MUCH: Final = f"These are more than {MAX_SUM // 10**6} MB of pictures; give them in parts."
TOO_LARGE: Final = f"This archive has more than {MAX_BYTES // 10**6} MB; give it in parts."
EMPTY: Final = "There is no file in this archive."
NO_PICTURE: Final = "There is no picture among these files."
NO_ROWS: Final = "There are no results; read the pictures again."


class BatchRefused(ValueError):  # noqa: N818 - as ImageRefused
    """The files cannot be read in one go; the message is one sentence for the person."""


@dataclass(frozen=True)
class Item:
    """One picture to read: the file at `path`, or the member at `member` of the zip there. `name` is what it is called;
    `size` in bytes; `refusal` says in one sentence why it will not be read."""

    name: str
    path: str
    size: int
    member: int | None = None
    refusal: str | None = None


def _line(value: object) -> object:
    """A row's line, from the pairs that a browser keeps of it."""
    pairs = isinstance(value, list) and all(isinstance(one, list) and [*map(type, one)] == [str, str] for one in value)
    return dict(value) if pairs and isinstance(value, list) else value


class Row(BaseModel):
    """What is said of one picture. JSON-able but for the thumbnail, since only the visitor's own browser keeps it.

    `line` has the CSV's columns, in JSON as pairs, since an object with a `path` that comes back is refused as a file
    (src/server/calls.py). `p_malignant` is None where it could not be read; `unlike` says in one sentence that
    it does not look like such a picture; `thumbnail` is a JPEG in base64.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    line: Annotated[
        dict[str, str], BeforeValidator(_line), PlainSerializer(lambda line: [list(pair) for pair in line.items()])
    ]
    p_malignant: Annotated[float, Field(ge=0, le=1)] | None = None
    unlike: str | None = None
    thumbnail: Annotated[str, Field(exclude=True)] = ""


Rows = Sequence[Row]


def items(_: Models, files: Sequence[tuple[str, str]]) -> list[Item]:
    """The pictures in `files`, each a path and the name it goes by, in order; zips are opened, not decompressed.
    Files that macOS and Windows add to a folder are passed over.

    Raises BatchRefused where they are too many or too much.
    """
    found: list[Item] = []
    for path, name in files:
        if is_bookkeeping(name):
            continue
        found += _opened(path, printable(name))
        if len(found) > MAX_LISTED:
            raise BatchRefused(TOO_MANY_FILES)
    if not found:
        raise BatchRefused(NO_PICTURE)
    taken = [item for item in found if item.refusal is None]
    if len(taken) > MAX_PICTURES:
        raise BatchRefused(TOO_MANY)
    if sum(item.size for item in taken) > MAX_SUM:
        raise BatchRefused(TOO_MUCH)
    return found


def read_items(
    models: Models, name: str, chunk: Sequence[Item], threshold: float, mpp: float | None = None
) -> list[Row]:
    """A row for each of `chunk`, read with the model `name` one at a time; decided at `threshold`. `mpp`: micrometres
    per pixel, None where the files are to say it."""
    archives: dict[str, Archive] = {}
    return [_row(models, name, item, archives, threshold, mpp) for item in chunk]


def unread(task: Task, chunk: Sequence[Item], reason: str) -> list[Row]:
    """The rows of pictures that were not read, for whatever reason."""
    return [Row(line=row(task, item.name, reason, 0)) for item in chunk]


def dump_rows(rows: Rows) -> list[dict[str, object]]:
    """The rows as JSON, for the visitor's browser to keep."""
    return TypeAdapter(list[Row]).dump_python(list(rows))


def load_rows(value: object) -> list[Row]:
    """The rows from the JSON of `dump_rows`, as a browser sends it back. Raises BatchRefused if it is malformed."""
    try:
        return TypeAdapter(Annotated[list[Row], Field(max_length=MAX_LISTED)]).validate_python(value)
    except ValidationError as error:
        raise BatchRefused(NO_ROWS) from error


def as_csv(task: Task, rows: Rows, threshold: float) -> str:
    """What `python -m src.score` writes of these pictures at `threshold`, in the order they were given.

    Raises BatchRefused where a row is not of this task.
    """
    out = io.StringIO()
    writer = Writer(out, columns(task))
    try:
        for one in rows:
            decision = {} if one.p_malignant is None else {"decision": decide(one.p_malignant, threshold)}
            writer.write({**one.line, **decision})
    except ValueError as error:
        raise BatchRefused(NO_ROWS) from error
    return out.getvalue()


def _opened(path: str, name: str) -> Iterator[Item]:
    try:
        size = os.stat(path).st_size  # noqa: PTH116 - also of what is gone
        with Path(path).open("rb") as file:
            start = file.read(4)
        if not is_archive(start):
            yield Item(name, path, size)
        elif size > MAX_BYTES:
            yield Item(name, path, size, refusal=TOO_LARGE)
        else:
            members = Archive(Path(path).read_bytes()).members
            if not members:
                yield Item(name, path, size, refusal=EMPTY)
            for member in members:
                yield Item(printable(f"{name}/{member.name}"), path, member.size, member.index, member.refusal)
    except ArchiveRefused as refusal:
        yield Item(name, path, 0, refusal=str(refusal))
    except OSError:
        yield Item(name, path, 0, refusal="The file could not be opened.")


def _row(
    models: Models, name: str, item: Item, archives: dict[str, Archive], threshold: float, mpp: float | None
) -> Row:
    predictor = models[name]
    try:
        if item.refusal is not None:
            raise ArchiveRefused(item.refusal)
        picture = decode.read(_content(item, archives), predictor.task.background).at(mpp)
        prediction = predictor.predict(picture)
    except (ArchiveRefused, ImageRefused) as refusal:
        return Row(line=row(predictor.task, item.name, str(refusal), threshold))
    task = predictor.task
    return Row(
        line=row(task, item.name, prediction, threshold),
        p_malignant=prediction.p_malignant,
        unlike=sentence(task, accepting_task(models, picture, task)) if rejected(prediction.gate) else None,
        thumbnail=_thumbnail(picture),
    )


def _content(item: Item, archives: dict[str, Archive]) -> str | bytes:
    if item.member is None:
        return item.path
    if item.path not in archives:
        archives[item.path] = Archive(Path(item.path).read_bytes())
    archive = archives[item.path]
    return archive.read(next(member for member in archive.members if member.index == item.member))


def _thumbnail(picture: Picture) -> str:
    small = picture.image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=75)
    return base64.b64encode(out.getvalue()).decode("ascii")
