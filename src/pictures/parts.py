"""A picture -> the parts of it that a network reads, each as a picture of its own.

Mostly that is the whole picture. A picture of known scale becomes tiles of the task's field, and an ultrasound picture
that shows two scanned fields side by side becomes its two halves. The module knows no network.
"""

from typing import Literal, NamedTuple

from src.pictures import scanned_field
from src.pictures.picture import Box, Picture, Shares
from src.pictures.scanned_field import Field
from src.pictures.tiles import tiles
from src.tasks import Task

PartKind = Literal["tiles", "views"]


class Part(NamedTuple):
    """A part of a picture.

    `picture`: the part as a picture of its own, with the notes of the whole. `field`: what a network reads of it
    (`scanned_field.crop`), with the box that it has in the whole picture. `shown`: the part of the field's image that
    shows that box; the rest mirrors it.
    """

    picture: Picture
    field: Field
    shown: Shares = (0, 0, 1, 1)


class Division(NamedTuple):
    """The parts of a picture, and what they are; `kind` is None for the one part of a picture that is read whole."""

    kind: PartKind | None
    parts: list[Part]


def divide(picture: Picture, task: Task) -> Division:
    """The parts of `picture` that networks of `task` read. Raises ImageRefused for more tiles than are read."""
    if task.mpp is not None and picture.mpp is not None:
        cut = tiles(picture.image, picture.mpp, task.mpp * task.input_side, task.input_side)
        made = [Part(Picture(tile, picture.notes), Field(tile, box), shown) for tile, box, shown in cut]
        return Division("tiles", made)
    whole = undivided(picture, task)
    views = scanned_field.views(whole.parts[0].field) if task.crop_to_roi else []
    return Division("views", [_view(picture, box, task) for box in views]) if views else whole


def undivided(picture: Picture, task: Task) -> Division:
    """All of `picture` as its one part."""
    return Division(None, [Part(picture, scanned_field.crop(picture.image, task))])


def _view(picture: Picture, box: Box, task: Task) -> Part:
    image = picture.image.crop(box)
    field = scanned_field.crop(image, task)
    left, upper, right, lower = field.box
    inside = left + box[0], upper + box[1], right + box[0], lower + box[1]
    return Part(Picture(image, picture.notes), Field(field.image, inside))
