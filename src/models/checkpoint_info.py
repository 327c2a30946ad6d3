"""The embedded checkpoints' folder, and what is known about a verified checkpoint besides its networks.

The app's own process uses this module and not `src.models.checkpoints`, because it needs no network.
"""

from dataclasses import dataclass
from pathlib import Path

from src.models.config import Config
from src.models.evaluation import Evaluation

EMBEDDED = Path(__file__).resolve().parents[2] / "checkpoints"


class CheckpointError(ValueError):
    """A checkpoint is missing or does not verify. The message says why in one sentence."""


@dataclass(frozen=True, eq=False)
class CheckpointInfo:
    """What is known about a verified checkpoint besides its networks.

    `evaluation` has the figures of evaluation.json. `source` is "embedded", a folder or "owner/repo". `revision` is the
    Hub's commit, or the first twelve digits of the weights' sha256; for several networks, those of the sha256 of all
    their hashes. `problem` says in one sentence why this is not the checkpoint that was asked for; it is None if it is
    that checkpoint.
    """

    config: Config
    evaluation: Evaluation
    source: str
    revision: str
    problem: str | None = None


def further(task: str) -> list[str]:
    """The names of the folders with the task's further embedded checkpoints, TASK-NAME, sorted."""
    return sorted(folder.name for folder in EMBEDDED.glob(f"{task}-*"))
