"""The gate's verdict as a sentence for a visitor."""

from src.models.prediction import Prediction, Verdict
from src.results.result import GateResult
from src.tasks import TASKS, Task


def sentence(task: Task, other: str | None = None) -> str:
    """The sentence about a rejected image of `task`; `other` names the task that the image looks like, if known."""
    if other is None:
        return f"This does not look like {task.look}, so the model's answer means little."
    other_task = TASKS[other]
    if other_task.look == task.look:
        return f"This does not look like the {task.look} that this model reads, so try the tab {other_task.title}."
    return f"This does not look like {task.look} but like {other_task.look}, so open the tab {other_task.title}."


def unlike_sentence(task: Task) -> str:
    """The sentence about an image that the gate accepts although it differs from the training images."""
    return f"This looks like {task.look}, but it differs from the training images, so expect more errors."


def rejected(verdict: Verdict | None) -> bool:
    """Whether a gate rejected the image. `verdict` is None for a checkpoint without a gate, which rejects nothing."""
    return verdict is not None and not verdict.accepted


def all_warnings(prediction: Prediction, other: str | None = None) -> tuple[str, ...]:
    """The prediction's warnings; first a sentence about the gate, if it rejected the image or barely accepted it."""
    return (*gate_warnings(prediction.gate, prediction.task, other), *prediction.warnings)


def gate_warnings(verdict: Verdict | None, task: Task, other: str | None = None) -> tuple[str, ...]:
    """The `sentence` for a rejected image, the `unlike_sentence` for a barely accepted one, else nothing."""
    if verdict is None or not (rejected(verdict) or verdict.unlike):
        return ()
    return (sentence(task, other) if rejected(verdict) else unlike_sentence(task),)


def gate_result(verdict: Verdict | None, task: Task, other: str | None = None) -> GateResult | None:
    """The result's `gate`; None for a checkpoint without a gate."""
    if verdict is None:
        return None
    return GateResult(
        accepted=verdict.accepted,
        sentence=None if verdict.accepted else sentence(task, other),
        looks_like=other,
        score=verdict.score,
        limit=verdict.limit,
        unlike=verdict.unlike,
    )
