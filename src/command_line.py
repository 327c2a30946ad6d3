"""The parts that the commands share: types of arguments, thresholds, the exit status if no engine can run the
networks, and the storing of DICOM objects in an archive."""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Final, ParamSpec

from src.models import checkpoints, engine_choice
from src.models.evaluation import MALIGNANT
from src.results.parsing import parse_share
from src.results.thresholds import operating_point, validation_promise
from src.tasks import TASKS

P = ParamSpec("P")
NO_ENGINE: Final = 2
"""The exit status if `VIGIL_ENGINE` names no engine, or one that does not work."""


def threshold_argument(text: str) -> float:
    """A threshold, 0 to 1. Raises ArgumentTypeError."""
    value = parse_share(text)
    if value is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def sensitivity_argument(text: str) -> float:
    """A target sensitivity, between 0 and 1. Raises ArgumentTypeError."""
    value = threshold_argument(text)
    if value in (0, 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return value


class NotPromised(ValueError):  # noqa: N818 - a refusal, as ImageRefused
    """Validation cannot promise the sensitivity; the message says why in one sentence."""


def threshold_of(checkpoint: checkpoints.Checkpoint, threshold: float | None, target: float | None) -> float:
    """The requested threshold: given by its value or by the sensitivity to promise, else the checkpoint's default.

    Raises NotPromised.
    """
    if target is None:
        return checkpoint.config.vigil.default_threshold if threshold is None else threshold
    group, promise = TASKS[checkpoint.config.vigil.task].group, validation_promise(checkpoint.evaluation, target)
    if promise is None:
        raise NotPromised(
            f"No sensitivity can be promised, because evaluation.json does not count validation by {group}."
        )
    if promise.threshold is None:
        raise NotPromised(
            f"A sensitivity of {target:g} cannot be promised: the {promise.positives} malignant {group}s of validation "
            f"can prove {promise.provable:.3f} at most, and {promise.needed} without a miss are needed."
        )
    return promise.threshold


def operating_points(checkpoint: checkpoints.Checkpoint, threshold: float) -> str:
    """The operating points at this threshold on all sets on which the model was evaluated, in one line."""
    parts = [f"threshold {threshold:g}"]
    for one in checkpoint.evaluation.held_out:
        point = operating_point(one.tables[MALIGNANT], threshold)
        shares = (
            f"{name} " + ("unknown" if math.isnan(value) else f"{value:.3f} ({low:.3f} to {high:.3f})")
            for name, value, (low, high) in (
                ("sensitivity", point.sensitivity, point.sensitivity_interval),
                ("specificity", point.specificity, point.specificity_interval),
            )
        )
        parts.append(f"{'external, ' if one.kind == 'away' else ''}{one.title}: {', '.join(shares)}")
    return "; ".join(parts if checkpoint.evaluation.held_out else [*parts, "not evaluated"]) + "."


def runs_networks(command: str) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Decorates the main function of `command`, which runs networks.

    If that function raises EngineRefused, the decorated one returns NO_ENGINE and prints one sentence on standard
    error. `VIGIL_ENGINE` is checked before the function starts, because a training can take hours.
    """

    def decorated(main: Callable[P, int]) -> Callable[P, int]:
        @wraps(main)
        def checked(*args: P.args, **kwargs: P.kwargs) -> int:
            try:
                engine_choice.chosen()
                return main(*args, **kwargs)
            except engine_choice.EngineRefused as refusal:
                print(f"{command}: {refusal}", file=sys.stderr)
                return NO_ENGINE

        return checked

    return decorated


def store(command: str, url: str, files: Sequence[Path]) -> int:
    """Store DICOM files in the archive at `url`, and print for `command` what became of them.

    Returns the number of failures.
    """
    # Imported here, because few runs need it.
    from src import dicomweb

    stored = duplicates = failures = 0
    try:
        archive = dicomweb.Archive(url)
    except dicomweb.ArchiveError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 1
    for file in files:
        try:
            if archive.store(file.read_bytes()):
                stored += 1
            else:
                duplicates += 1
        except dicomweb.ArchiveError as error:
            failures += 1
            print(f"{command}: {file.name}: {error}", file=sys.stderr)
    print(f"{command}: {stored} objects stored, {duplicates} were there already, {failures} failed.", file=sys.stderr)
    return failures
