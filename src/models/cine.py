"""A cine -> the frame that stands for it: the one with the highest p(malignant).

Frames are decoded and read one at a time, so that a cine takes the memory of one frame.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from src.models.prediction import Prediction
from src.pictures.decode import Film
from src.pictures.picture import CineFrames, ImageRefused, Picture

MOST_READ: Final = 64
"""Frames of a cine that are read: a longer cine is read in steps."""


def chosen(film: Film, predict: Callable[[Picture], Prediction], wanted: int | None = None) -> Picture:
    """The frame of `film` with the highest p(malignant), among those that the gate accepts if there are any.

    `wanted`: the index of the frame to choose instead, if it is among those that are read. Sentences in its notes say
    what was read. Raises ImageRefused if a frame that is to be read cannot be.
    """
    if film.count == 1:
        return film.picture()
    step = math.ceil(film.count / MOST_READ)
    indexes = tuple(range(0, film.count, step))
    best: tuple[bool, bool, float] | None = None
    values: list[float] = []
    for index in indexes:
        picture = film.picture(index)
        prediction = predict(picture)
        values.append(prediction.p_malignant)
        accepted = prediction.gate is None or prediction.gate.accepted
        rank = (index == wanted, accepted, prediction.p_malignant)
        if best is None or rank > best:
            best, frame, at = rank, picture, index
    cine = CineFrames(film.count, indexes, tuple(values), at)
    return replace(frame, notes=(*sentences(cine, step, at == wanted), *frame.notes), cine=cine)


def each_frame(film: Film, predict: Callable[[Picture], Prediction]) -> Iterator[Prediction | ImageRefused]:
    """The prediction for each frame of `film`, or the refusal of it, in order."""
    for index in range(film.count):
        try:
            yield predict(film.picture(index))
        except ImageRefused as refusal:
            yield refusal


def sentences(cine: CineFrames, step: int, wanted: bool) -> tuple[str, str]:
    """What was read of a cine, and which frame is reported; frames count from 1. `wanted`: whether it was chosen."""
    if step == 1:
        read = f"This is a cine of {cine.count:,} frames, and all were read."
    else:
        read = f"This is a cine of {cine.count:,} frames, of which one in {step} was read, {len(cine.read)} in all."
    if not wanted:
        return read, (
            f"Frame {cine.chosen + 1:,} of the cine is reported, because it has the highest p(malignant); the median "
            f"of all frames that were read is {cine.median:.2f}."
        )
    return read, (
        f"Frame {cine.chosen + 1:,} of the cine is reported, because you chose it; the highest p(malignant) of all "
        f"frames that were read is {max(cine.p_malignant):.2f}, and the median is {cine.median:.2f}."
    )
