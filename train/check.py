"""Whether published numbers come out again: evaluation.json against a fresh evaluation, the cards against both.

Compares and says where things differ; evaluates nothing itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np

from src.models.checkpoints import EMBEDDED
from train import card

TOLERANCE = 1e-4
"""How far a figure may be off: processors differ by some 1e-6 in a score, cards show three decimals."""

TABLE = {"threshold", "tp", "fp", "tn", "fn"}


def compare_evaluations(stored: Any, derived: Any, where: str = "evaluation.json") -> Iterator[str]:
    """A sentence for each place where the content of two evaluation.json differs.

    Counts and words must be equal, other figures up to TOLERANCE, threshold tables in the scores that they stand for.
    """
    if isinstance(stored, Mapping) and isinstance(derived, Mapping):
        if set(stored) == set(derived) == TABLE:
            yield from _tables(stored, derived, where)
            return
        for key in [*stored, *(key for key in derived if key not in stored)]:
            if key not in derived:
                yield f"{where}.{key}: stands there, does not come out."
            elif key not in stored:
                yield f"{where}.{key}: comes out, does not stand there."
            else:
                yield from compare_evaluations(stored[key], derived[key], f"{where}.{key}")
    elif isinstance(stored, list) and isinstance(derived, list) and len(stored) == len(derived):
        for i, (one, other) in enumerate(zip(stored, derived, strict=True)):
            yield from compare_evaluations(one, other, f"{where}[{i}]")
    elif not _same(stored, derived):
        yield f"{where}: {_short(stored)} stands there, {_short(derived)} comes out."


def _same(stored: Any, derived: Any) -> bool:
    if isinstance(stored, float) and isinstance(derived, float):
        return abs(stored - derived) <= TOLERANCE
    return type(stored) is type(derived) and bool(stored == derived)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _tables(stored: Mapping[str, Any], derived: Mapping[str, Any], where: str) -> Iterator[str]:
    """Threshold tables as the sorted scores of either side: noise moves each score a little, and ties may part."""
    for who, passing, failing in (("malignant", "tp", "fn"), ("other", "fp", "tn")):
        try:
            ours, theirs = _scores(stored, passing, failing), _scores(derived, passing, failing)
        except (ValueError, TypeError, IndexError):
            yield f"{where}: its columns {passing} and {failing} are not those of a threshold table."
            continue
        if len(ours) != len(theirs):
            yield f"{where}: {len(ours):,} {who} cases stand there, {len(theirs):,} come out."
        elif len(ours) and np.abs(ours - theirs).max() > TOLERANCE:
            yield f"{where}: scores of the {who} cases are off by up to {np.abs(ours - theirs).max():.4f}."


def _scores(table: Mapping[str, Any], passing: str, failing: str) -> np.ndarray:
    """The scores of one side, ascending, from the columns that count its cases above and below a threshold.

    Raises ValueError where the columns do not fit together.
    """
    above, below = np.array(table[passing], dtype=int), np.array(table[failing], dtype=int)
    if (above + below != above[0]).any():  # from the lowest score on, all are above
        raise ValueError
    return np.repeat(np.array(table["threshold"], dtype=float), -np.diff(above, append=0))


def compare_cards(folder: Path) -> Iterator[str]:
    """A sentence for each line of a checkpoint folder's card that its config.json and evaluation.json do not give; for
    an embedded checkpoint, also of model_card.md and README.md."""
    files = {folder / "README.md": card.card_text(folder)}
    if folder.resolve().parent == EMBEDDED:
        readme = card.ROOT / "README.md"
        files |= {
            card.ROOT / "model_card.md": card.model_card_text(),
            readme: card.readme_text(readme.read_text("utf-8")),
        }
    for file, derived in files.items():
        if file.is_file():
            yield from _lines(file, file.read_text("utf-8").splitlines(), derived.splitlines())
        else:
            yield f"{file}: is missing."


def _lines(file: Path, stored: Sequence[str], derived: Sequence[str]) -> Iterator[str]:
    matcher = SequenceMatcher(None, stored, derived, autojunk=False)
    for kind, start, stop, first, last in matcher.get_opcodes():
        if kind != "equal":
            stands, comes = " ".join(stored[start:stop]), " ".join(derived[first:last])
            yield f"{file}, line {start + 1}: “{stands}” stands there, “{comes}” comes out."
