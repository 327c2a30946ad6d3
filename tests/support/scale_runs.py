"""Runs with `--out` in the present process, and images that end the process that reads them."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow
import pyarrow.parquet

from src.scale.images import Image
from src.scale.parts import Part, Written
from src.scale.worker import Job, Scorer


class InlineProcess:
    """Scores in the present process, which takes no time to start, in place of a `ScoringProcess`."""

    scored: ClassVar[list[str]] = []
    """The names of the parts that were scored."""

    def __init__(self, job: Job, device: str) -> None:
        self._scorer = Scorer(job, device)

    def score(self, part: Part) -> Written:
        self.scored.append(part.name)
        return self._scorer.score(part)

    def close(self) -> None:
        pass


class Poison(Image):
    """An image that kills the process that reads it."""

    __slots__ = ()

    @property
    def source(self) -> Any:
        return self._kill

    def _kill(self) -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Slow(Image):
    """An image whose fetching takes a minute."""

    __slots__ = ()

    @property
    def source(self) -> Any:
        return self._sleep

    def _sleep(self) -> bytes:
        time.sleep(60)
        return b""


def rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of all parts, sorted by path."""
    tables = [pyarrow.parquet.read_table(file) for file in folder.glob("*.parquet")]
    found: Sequence[dict[str, Any]] = pyarrow.concat_tables(tables).to_pylist()
    return sorted(found, key=lambda row: row["path"])


def files(folder: Path) -> dict[str, bytes]:
    """The content of each part."""
    return {file.name: file.read_bytes() for file in folder.glob("*.parquet")}
