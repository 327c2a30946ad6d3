"""Finds the task that an image belongs to if the gate of the chosen task rejects it."""

from dataclasses import replace

from src.pictures.picture import Picture
from src.service.model_loading import Models
from src.tasks import TASKS, Task


def accepting_task(models: Models, picture: Picture, task: Task) -> str | None:
    """The name of another task whose gate accepts the image with the widest margin; None if no gate does.

    Runs the networks of the other tasks' default models. If two tasks have the same `look`, only the first is named.
    Raises ImageRefused.
    """
    margins: dict[str, tuple[float, str]] = {}
    whole = replace(picture, mpp=None)  # in tiles, one look at it could take many passes of a network
    for name, other in TASKS.items():
        if name == task.name or name not in models:
            continue
        verdict = models[name].predict(whole).gate
        if verdict is not None and verdict.accepted and other.look not in margins:
            margins[other.look] = (verdict.limit - verdict.score, name)
    return max(margins.values())[1] if margins else None
