"""Reads many images, single or in zips. Each gives a row: the model's answer, or a sentence on why there is none.

Knows the Predictor, zips and the CSV of `src/score.py`, and nothing of Gradio or HTML. The rows show the names that
visitors gave their files. The paths of the uploads are neither shown nor kept.
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
from src.pictures.archive import Archive, ArchiveRefused, is_archive, printable
from src.pictures.folder import is_bookkeeping
from src.pictures.formats import recognised
from src.pictures.limits import MAX_BYTES
from src.pictures.picture import ImageRefused, Picture
from src.results.gate_sentences import rejected, sentence
from src.results.thresholds import decide
from src.service.model_loading import Models
from src.service.other_tasks import accepting_task
from src.tasks import Task

MAX_IMAGES: Final = 200
MAX_LISTED: Final = 1_000
"""The most files, with those that are refused: the table has a line for each."""
MAX_SUM: Final = 10 * MAX_BYTES
"""The most bytes of all images together, after they are taken out of their zips."""
CHUNK_SIZE: Final = 8
"""Images that are read in one call. Other visitors have their turn between two calls."""
THUMBNAIL: Final = 64
"""The longer side of a thumbnail, in pixels."""

TOO_MANY: Final = f"These are more than {MAX_IMAGES} images; upload them in parts."
TOO_MANY_FILES: Final = f"These are more than {MAX_LISTED:,} files; upload them in parts."
TOO_MUCH: Final = f"These images have more than {MAX_SUM // 10**6} MB in total; upload them in parts."
TOO_LARGE: Final = f"This archive has more than {MAX_BYTES // 10**6} MB; upload it in parts."
EMPTY: Final = "There is no file in this archive."
NO_IMAGE: Final = "There is no image among these files."
GONE: Final = "This image is not there any more; read the images again."
NO_ROWS: Final = "There are no results; read the images again."


class BatchRefused(ValueError):  # noqa: N818 - as ImageRefused
    """The files cannot be read together; the message is one sentence for the visitor."""


@dataclass(frozen=True)
class Item:
    """One image to read: the file at `path`, or the member with the index `member` of the zip at `path`.

    `name` is the file's name as it is shown, and `size` is in bytes. `refusal` is the sentence on why it is not read.
    """

    name: str
    path: str
    size: int
    member: int | None = None
    refusal: str | None = None


def _line(value: object) -> object:
    """The line of a row as a dict, if `value` is the list of pairs that a browser keeps; else `value` itself."""
    pairs = isinstance(value, list) and all(
        isinstance(pair, list) and [*map(type, pair)] == [str, str] for pair in value
    )
    return dict(value) if pairs and isinstance(value, list) else value


class Row(BaseModel):
    """The answer to one image. Only the visitor's browser keeps it, as JSON without the thumbnail.

    `line` has the columns of the CSV. In JSON it is a list of pairs, because src/server/calls.py refuses an object with
    a key `path` as a file. `p_malignant` is None if the image could not be read. `unlike` is the sentence that says
    that the image does not look like one of the task. `thumbnail` is a JPEG in base64.
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
    """The images in `files`, in order. Each file has a path and the name that the visitor gave it.

    Zips are opened, but their members are not decompressed yet. Files that macOS and Windows add to a folder are
    skipped. Raises BatchRefused if the images are too many or too large in total.
    """
    found: list[Item] = []
    for path, name in files:
        if is_bookkeeping(name):
            continue
        found += _opened(path, printable(name))
        if len(found) > MAX_LISTED:
            raise BatchRefused(TOO_MANY_FILES)
    if not found:
        raise BatchRefused(NO_IMAGE)
    accepted = [item for item in found if item.refusal is None]
    if len(accepted) > MAX_IMAGES:
        raise BatchRefused(TOO_MANY)
    if sum(item.size for item in accepted) > MAX_SUM:
        raise BatchRefused(TOO_MUCH)
    return found


def read_items(
    models: Models, name: str, chunk: Sequence[Item], threshold: float, mpp: float | None = None
) -> list[Row]:
    """A row for each item of `chunk`, read with the model `name` and decided at `threshold`. `mpp` is the scale of all
    images in micrometres per pixel; None means the scale that each file states."""
    archives: dict[str, Archive] = {}
    return [_row(models, name, item, archives, threshold, mpp) for item in chunk]


def member_file(_: Models, path: str, member: int) -> tuple[str, bytes]:
    """A name for the member with this index of the zip at `path`, and its content. Raises BatchRefused without one."""
    try:
        content = _member(Archive(Path(path).read_bytes()), member)
    except ArchiveRefused as refusal:
        raise BatchRefused(str(refusal)) from refusal
    except (OSError, StopIteration) as error:
        raise BatchRefused(GONE) from error
    found = recognised(content)
    return f"image.{found.name.lower().replace(' ', '')}" if found else "image", content


def unread(task: Task, chunk: Sequence[Item], reason: str) -> list[Row]:
    """The rows of images that were not read; `reason` is the sentence that says why."""
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
    """The CSV that `python -m src.score` writes for these images at `threshold`, in the order of the rows.

    Raises BatchRefused if a row belongs to another task.
    """
    out = io.StringIO()
    writer = Writer(out, columns(task))
    try:
        for each in rows:
            decision = {} if each.p_malignant is None else {"decision": decide(each.p_malignant, threshold)}
            writer.write({**each.line, **decision})
    except ValueError as error:
        raise BatchRefused(NO_ROWS) from error
    return out.getvalue()


def _opened(path: str, name: str) -> Iterator[Item]:
    try:
        size = os.stat(path).st_size  # noqa: PTH116 - the file may be gone
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
        picture = predictor.read(_content(item, archives), mpp=mpp)
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
    return _member(archives[item.path], item.member)


def _member(archive: Archive, index: int) -> bytes:
    return archive.read(next(member for member in archive.members if member.index == index))


def _thumbnail(picture: Picture) -> str:
    small = picture.image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=75)
    return base64.b64encode(out.getvalue()).decode("ascii")
