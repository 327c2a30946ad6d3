"""The scores of a slide's tiles on the disk, block by block, so that an interrupted run continues where it was.

An SQLite file holds them. A block is in it completely or not at all, whenever the process is killed, and the lock of a
file ends with its process. Knows nothing of slides.
"""

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from src.pictures.picture import ImageRefused

FILE: Final = "scores.sqlite"


class BlockScores(NamedTuple):
    """The scores of a block's tiles, row by row, float32 (N,): p(malignant), and the gate's scores."""

    p_malignant: np.ndarray
    gate: np.ndarray


class ScoreStore:
    """The file FILE in `folder`, which must exist.

    `run`: what the scores depend on, as JSON values. Raises ImageRefused if the folder has the scores of another run,
    if another process writes to it, or if it cannot be written.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any]) -> None:
        self._database = sqlite3.connect(folder / FILE, isolation_level=None, timeout=0)
        try:
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("BEGIN EXCLUSIVE")
            self._database.execute("CREATE TABLE IF NOT EXISTS run (described TEXT)")
            self._database.execute("CREATE TABLE IF NOT EXISTS block (number INTEGER PRIMARY KEY, p BLOB, gate BLOB)")
            found = self._database.execute("SELECT described FROM run").fetchone()
            if found is None:
                self._database.execute("INSERT INTO run VALUES (?)", (json.dumps(run),))
            self._database.execute("COMMIT")
            if found is not None:
                _check_same(json.loads(found[0]), run)
        except sqlite3.OperationalError as error:
            self._database.close()
            busy = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
            reason = "another process writes to it" if busy else "it cannot be written"
            raise ImageRefused(f"The folder {folder} cannot be used, because {reason}.") from error
        except (sqlite3.DatabaseError, ValueError) as error:
            self._database.close()
            if isinstance(error, ImageRefused):
                raise
            raise ImageRefused(f"{folder / FILE} is damaged; delete it, and the slide is read again.") from error

    def keep(self, number: int, scores: BlockScores) -> None:
        """Store the scores of a block. Raises OSError where the disk is full."""
        blobs = (values.astype("<f4").tobytes() for values in scores)
        try:
            self._database.execute("INSERT OR REPLACE INTO block VALUES (?, ?, ?)", (number, *blobs))
        except sqlite3.OperationalError as error:
            raise OSError(f"{FILE} cannot be written: {error}.") from error

    def get(self, number: int) -> BlockScores | None:
        """The scores of a block; None if they are not stored."""
        found = self._database.execute("SELECT p, gate FROM block WHERE number = ?", (number,)).fetchone()
        return None if found is None else BlockScores(*(np.frombuffer(blob, "<f4") for blob in found))

    def numbers(self) -> set[int]:
        """The numbers of all stored blocks."""
        return {number for (number,) in self._database.execute("SELECT number FROM block")}

    def close(self) -> None:
        """Close the file and give up its lock."""
        self._database.close()


def _check_same(found: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    """Raise ImageRefused, naming what differs, if the scores of another run are stored."""
    other = [name for name in run if found.get(name) != run[name]]
    if other:
        raise ImageRefused(
            f"The folder has the scores of another run, which differs in {', '.join(other)}; name another folder by "
            "--out."
        )
