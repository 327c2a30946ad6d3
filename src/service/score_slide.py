"""Scores an uploaded slide by `python -m src.slide` in a process of its own, one slide at a time.

A slide takes minutes, and a worker process may take seconds. The process ends with the visitor who waits for it.
"""

import asyncio
import csv
import re
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from src.pictures.picture import ImageRefused

ROOT: Final = Path(__file__).resolve().parents[2]
STRIDE: Final = 96
"""Pixels of the network between two tiles: the quick look."""
PERCENT: Final = re.compile(rb"(\d{1,3})%\|")
"""The progress bar of tqdm."""
PIECE: Final = 4096
TABLE: Final = "slides.csv"

UNFINISHED: Final = "Reading this slide ended unexpectedly, because the machine has too little memory or space for it."

_one_at_a_time = asyncio.Lock()


async def score(file: Path, scores: Path) -> AsyncGenerator[int | None, None]:
    """Score the slide `file` into the folder `scores`; yields percents, and None while another slide is being read.

    Raises ImageRefused where the slide cannot be read.
    """
    if _one_at_a_time.locked():
        yield None
    async with _one_at_a_time:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "src.slide", str(file), "--out", str(scores.parent), "--stride", str(STRIDE)),
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        try:
            shown = 0
            yield shown
            while piece := await process.stderr.read(PIECE):
                found = PERCENT.findall(piece)
                if found and int(found[-1]) != shown:
                    shown = int(found[-1])
                    yield shown
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if not (scores / "slide.json").is_file():
        raise ImageRefused(_reason(scores.parent / TABLE))


def _reason(table: Path) -> str:
    """The sentence that says why a slide was refused."""
    try:
        with table.open(encoding="utf-8", newline="") as rows:
            return next(csv.DictReader(rows))["error"] or UNFINISHED
    except (OSError, StopIteration, KeyError):
        return UNFINISHED
