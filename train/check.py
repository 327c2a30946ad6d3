"""Compare published numbers with fresh ones: evaluation.json with a new evaluation, the cards with evaluation.json.

It reports each difference. It evaluates nothing itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np

from src.models.checkpoint_info import EMBEDDED
from train import card

TOLERANCE = 1e-4
"""The largest accepted difference. Scores differ by about 1e-6 between processors; cards show three decimals."""

TABLE_COLUMNS = {"threshold", "tp", "fp", "tn", "fn"}


def compare_evaluations(stored: Any, derived: Any, where: str = "evaluation.json") -> Iterator[str]:
    """A sentence for each difference between two contents of evaluation.json.

    Counts and words must be equal, and other figures must agree within TOLERANCE. Of a threshold table, the scores that
    it was made from are compared.
    """
    if isinstance(stored, Mapping) and isinstance(derived, Mapping):
        if set(stored) == set(derived) == TABLE_COLUMNS:
            yield from _tables(stored, derived, where)
            return
        for key in [*stored, *(key for key in derived if key not in stored)]:
            if key not in derived:
                yield f"{where}.{key}: published, but not derived again."
            elif key not in stored:
                yield f"{where}.{key}: derived, but not published."
            else:
                yield from compare_evaluations(stored[key], derived[key], f"{where}.{key}")
    elif isinstance(stored, list) and isinstance(derived, list) and len(stored) == len(derived):
        for i, (one, other) in enumerate(zip(stored, derived, strict=True)):
            yield from compare_evaluations(one, other, f"{where}[{i}]")
    elif not _same(stored, derived):
        yield f"{where}: {_short(stored)} is published, {_short(derived)} is derived."


def _same(stored: Any, derived: Any) -> bool:
    if isinstance(stored, float) and isinstance(derived, float):
        return abs(stored - derived) <= TOLERANCE
    return type(stored) is type(derived) and bool(stored == derived)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _tables(stored: Mapping[str, Any], derived: Mapping[str, Any], where: str) -> Iterator[str]:
    """Compare threshold tables by the sorted scores of each side, because rounding may split scores that were equal."""
    for side, above, below in (("malignant", "tp", "fn"), ("other", "fp", "tn")):
        try:
            published, fresh = _scores(stored, above, below), _scores(derived, above, below)
        except (ValueError, TypeError, IndexError):
            yield f"{where}: the columns {above} and {below} do not make a threshold table."
            continue
        if len(published) != len(fresh):
            yield f"{where}: {len(published):,} {side} cases are published, {len(fresh):,} are derived."
        elif len(published) and np.abs(published - fresh).max() > TOLERANCE:
            yield f"{where}: scores of {side} cases differ by up to {np.abs(published - fresh).max():.4f}."


def _scores(table: Mapping[str, Any], above: str, below: str) -> np.ndarray:
    """The scores of one side in ascending order. `above` and `below` name the columns that count its cases.

    Raises ValueError if the columns do not fit together.
    """
    counts_above, counts_below = np.array(table[above], dtype=int), np.array(table[below], dtype=int)
    if (counts_above + counts_below != counts_above[0]).any():  # all cases are above the first threshold
        raise ValueError
    return np.repeat(np.array(table["threshold"], dtype=float), -np.diff(counts_above, append=0))


def compare_cards(folder: Path) -> Iterator[str]:
    """A sentence for each line of a checkpoint folder's card that differs from the generated card.

    For an embedded checkpoint, model_card.md and README.md are compared too.
    """
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
            yield f"{file} is missing."


def _lines(file: Path, stored: Sequence[str], derived: Sequence[str]) -> Iterator[str]:
    matcher = SequenceMatcher(None, stored, derived, autojunk=False)
    for kind, start, stop, first, last in matcher.get_opcodes():
        if kind != "equal":
            published, fresh = " ".join(stored[start:stop]), " ".join(derived[first:last])
            yield f"{file}, line {start + 1}: “{published}” is published, “{fresh}” is derived."
