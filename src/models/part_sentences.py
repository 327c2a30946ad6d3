"""The warnings about an image that was read in parts, as sentences for the visitor."""

from src.models.prediction import Parts
from src.tasks import Task

COARSE = 1.5
"""An image whose pixels are larger than those of training by this factor lacks details, so a warning says so."""
SMALL = 0.9
"""An image whose shorter side is below this share of the tile's side shows too little, so a warning says so."""


def sentences(parts: Parts, size: tuple[int, int], task: Task) -> tuple[str, ...]:
    """The sentences about an image of `size` (width and height in pixels) that was read in `parts`."""
    return (*_division(parts, task), *(_scale(parts.mpp, size, task) if parts.mpp is not None else ()))


def _division(parts: Parts, task: Task) -> list[str]:
    if len(parts.p_malignant) == 1:
        return []
    left_out = [p for p, counts in zip(parts.p_malignant, parts.counted, strict=True) if not counts]
    said = [_views(parts) if parts.kind == "views" else _tiles(parts, task)]
    if left_out:
        one = len(left_out) == 1
        said.append(
            f"{len(left_out)} of them {'does' if one else 'do'} not look like {task.look} and "
            f"{'does' if one else 'do'} not count; the highest p(malignant) there is {max(left_out):.2f}."
        )
    return said


def _tiles(parts: Parts, task: Task) -> str:
    assert parts.mpp is not None
    assert task.mpp is not None
    return (
        f"At {parts.mpp:.3g} µm per pixel, the image was read as {len(parts.p_malignant)} tiles of "
        f"{task.mpp * task.input_side:.0f} µm: the highest p(malignant) is reported, and the mean over the tiles is "
        f"{parts.mean:.2f}."
    )


def _views(parts: Parts) -> str:
    said = "The image seems to show two views side by side, and each was read."
    if all(parts.counted):
        said += f" The higher p(malignant) is reported; the other is {min(parts.p_malignant):.2f}."
    return f"{said} Give one view at a time."


def _scale(mpp: float, size: tuple[int, int], task: Task) -> list[str]:
    assert task.mpp is not None
    field = task.mpp * task.input_side
    if min(size) * mpp < SMALL * field:
        return [
            f"At {mpp:.3g} µm per pixel, the image shows {mpp * size[0]:.0f} × {mpp * size[1]:.0f} µm, less than the "
            f"{field:.0f} µm that the model learned from, and its mirror image fills the rest: give a larger part of "
            "the slide."
        ]
    if mpp > COARSE * task.mpp:
        return [
            f"The image has {mpp:.3g} µm per pixel, and the model learned from {task.mpp:.3g}: details are missing, "
            "so export it at a higher magnification."
        ]
    return []
