"""Types of command-line arguments that several commands share."""

import argparse

from src.results.parsing import parse_share


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
