"""Checks arguments of any type, which anyone may have sent, and returns them with their proper types."""

from collections.abc import Container, Iterable

from pydantic import TypeAdapter, ValidationError

from src.models.prediction import EXPLANATIONS, Explanation
from src.pictures.limits import MAX_CINE_FRAMES
from src.pictures.resolution import LEAST, MOST
from src.results.result import ModelAnswer, Result, Robustness
from src.results.thresholds import PEOPLE
from src.tasks import Task

NOT_A_THRESHOLD = "The threshold must be a number from 0 to 1."
NOT_A_PREVALENCE = f"The number of people with the disease must be more than 0 and less than {PEOPLE:,}."
NO_RESULT = "There is no result to decide on; read the image again."
NOT_AN_EXPLANATION = f"The explanation must be one of {', '.join(EXPLANATIONS)}."


class ArgumentRefused(ValueError):  # noqa: N818 - a refusal, as ImageRefused
    """An argument that cannot be used; the message is one sentence for the visitor and quotes no argument."""


def threshold_of(value: object) -> float:
    """A number from 0 to 1, as a float. Raises ArgumentRefused for anything else, such as NaN, True and "0.3"."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ArgumentRefused(NOT_A_THRESHOLD)
    return float(value)


def prevalence_of(value: object) -> float:
    """The number of PEOPLE who are ill: more than 0 and less than PEOPLE. Raises ArgumentRefused for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < PEOPLE:
        raise ArgumentRefused(NOT_A_PREVALENCE)
    return float(value)


def mpp_of(value: object, task: Task) -> float | None:
    """Micrometres per pixel from LEAST to MOST, as a float. None and "" give None: the file states it.

    Raises ArgumentRefused for anything else, and for a task that has no physical scale.
    """
    if value is None or value == "":
        return None
    if task.mpp is None:
        raise ArgumentRefused(f"Micrometres per pixel play no part in {task.title}; leave them out.")
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e9 < value < 1e9:
        raise ArgumentRefused(f"Micrometres per pixel must be a number from {LEAST:g} to {MOST:g}.")
    if not LEAST <= value <= MOST:
        raise ArgumentRefused(
            f"{value:.4g} µm per pixel is not the scale of a microscope; give a number from {LEAST:g} to {MOST:g}."
        )
    return float(value)


def frame_of(value: object) -> int | None:
    """The index of a frame, as an int; None means that none was chosen. Raises ArgumentRefused for anything else."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MAX_CINE_FRAMES:
        raise ArgumentRefused(f"A frame must be a whole number from 0 to {MAX_CINE_FRAMES - 1}.")
    return value


def explanation_of(value: object) -> Explanation:
    """One of EXPLANATIONS. Raises ArgumentRefused for anything else."""
    for explanation in EXPLANATIONS:
        if isinstance(value, str) and value == explanation:
            return explanation
    raise ArgumentRefused(NOT_AN_EXPLANATION)


def code_of(value: object, task: Task) -> str | None:
    """A class code of `task`; None for "", which means the most probable class. Raises ArgumentRefused otherwise."""
    if isinstance(value, str) and value in ("", *task.codes):
        return value or None
    raise ArgumentRefused(f"The class to explain must be one of {', '.join(task.codes)}, or empty.")


def model_of(value: object, task: str, names: Iterable[str]) -> str:
    """The name of the model of `task` that `value` chooses; "" chooses the task's default.

    `names` are the names of all checkpoint folders. Raises ArgumentRefused for anything else.
    """
    offered = models_of(task, names)
    if value == "":
        return offered[0]
    if isinstance(value, str) and value in offered:
        return value
    raise ArgumentRefused(f"The model must be one of {', '.join(offered)}, or empty.")


def models_of(task: str, names: Iterable[str]) -> list[str]:
    """The names of the models of `task` among the `names` of all checkpoint folders, the default first."""
    return [name for name in names if name == task] + [name for name in names if name.startswith(f"{task}-")]


def result_of(value: object) -> Result:
    """A result that comes back from a visitor's browser. Raises ArgumentRefused for anything else."""
    try:
        return Result.model_validate(value)
    except ValidationError as error:
        raise ArgumentRefused(NO_RESULT) from error


def robustness_of(value: object) -> Robustness:
    """A Robustness that comes back from a visitor's browser. Raises ArgumentRefused for anything else."""
    try:
        return Robustness.model_validate(value)
    except ValidationError as error:
        raise ArgumentRefused(NO_RESULT) from error


def model_answers_of(value: object, names: Container[str]) -> list[ModelAnswer]:
    """Answers of several models that come back from a visitor's browser; the models must be among `names`.

    Raises ArgumentRefused for anything else.
    """
    try:
        answers = TypeAdapter(list[ModelAnswer]).validate_python(value)
    except ValidationError as error:
        raise ArgumentRefused(NO_RESULT) from error
    if not answers or any(one.model not in names for one in answers):
        raise ArgumentRefused(NO_RESULT)
    return answers
