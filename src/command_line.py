"""The parts that the commands share: types of arguments, the exit status if no engine can run the networks, and the
storing of DICOM objects in an archive."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Final, ParamSpec

from src.models import engine
from src.results.parsing import parse_share

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


def runs_networks(command: str) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Decorates the main function of `command`, which runs networks.

    If that function raises EngineRefused, the decorated one returns NO_ENGINE and prints one sentence on standard
    error. `VIGIL_ENGINE` is checked before the function starts, because a training can take hours.
    """

    def decorated(main: Callable[P, int]) -> Callable[P, int]:
        @wraps(main)
        def checked(*args: P.args, **kwargs: P.kwargs) -> int:
            try:
                engine.chosen()
                return main(*args, **kwargs)
            except engine.EngineRefused as refusal:
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
