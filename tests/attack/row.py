"""A line of docs/HARDENING.md."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One attack: its description, how often it was tried, its outcome, and whether the promise held (`ok`).

    `point` is the number of its section in docs/HARDENING.md. `outcome` is one sentence with the measured figures.
    """

    point: int
    what: str
    how_often: int
    outcome: str
    ok: bool
