"""A line of docs/HARDENING.md."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What was tried, how often, and what came of it; `ok` where that is what was promised.

    `point` is the number of its section in docs/HARDENING.md. `outcome` says in one sentence what was seen, with the
    figures measured.
    """

    point: int
    what: str
    how_often: int
    outcome: str
    ok: bool
