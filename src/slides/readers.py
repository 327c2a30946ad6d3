"""Reader processes: a slide is opened and decoded in processes that can be killed at any moment.

Slides are untrusted files, and the decoders are C code. A file that crashes them, never ends or asks for all memory
costs one region, or is refused by one sentence. A process costs 60 MB and no noticeable time.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from src.pictures.picture import ImageRefused
from src.slides.reader_program import receive, send
from src.slides.slide import UNREADABLE, About, Reading

ROOT: Final = Path(__file__).resolve().parents[2]
SECONDS: Final = 20.0
"""The longest time for opening a slide and for reading a region. A region takes 0.1 to 1 s from a fast disk."""
MOST_DEATHS: Final = 3
"""Readers of one slide that may die or be killed. A slide that costs more is hostile or has no readable part."""

ENDED: Final = "Reading this slide ended unexpectedly, because the file is damaged or of a rare kind."
TOO_LONG: Final = f"Reading a part of this slide takes longer than {SECONDS:.0f} seconds; it may be damaged."


class ReaderDied(ImageRefused):
    """The process ended or was killed. The message is one sentence."""


class ReaderLate(ReaderDied):
    """The process was killed because it took too long. Waiting for more regions of the slide would take minutes."""


class Readers:
    """Reader processes of one slide, each for one thread at a time. They start when they are needed.

    `mpp`: as for Slide. `seconds`: the time limit of each request. Raises ImageRefused where the slide cannot be
    opened.
    """

    def __init__(self, path: Path, mpp: float | None = None, seconds: float = SECONDS) -> None:
        self._slide = path.resolve(), mpp
        self._seconds = seconds
        self._idle: list[_Reader] = []
        self._deaths = 0
        self._lock = threading.Lock()
        first = _Reader(self._slide, seconds)
        self.about: About = first.about
        self._idle.append(first)

    def read(self, how: Reading, x: int, y: int, width: int, height: int) -> np.ndarray:
        """As `Slide.read`. Raises ImageRefused, and ReaderDied once MOST_DEATHS processes died or one took too long."""
        with self._lock:
            if self._deaths >= MOST_DEATHS:
                raise ReaderDied(ENDED)
            reader = self._idle.pop() if self._idle else None
        try:
            if reader is None:
                reader = _Reader(self._slide, self._seconds)
            region = reader.ask((how, x, y, width, height))
        except ReaderLate:
            raise
        except ReaderDied:
            with self._lock:
                self._deaths += 1
                if self._deaths >= MOST_DEATHS:
                    raise
            raise ImageRefused(UNREADABLE) from None
        except ImageRefused:
            if reader is not None:
                self._give_back(reader)
            raise
        self._give_back(reader)
        return region

    def pids(self) -> Iterator[int]:
        """The ids of the idle processes."""
        with self._lock:
            yield from (reader.pid for reader in self._idle)

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            for reader in self._idle:
                reader.kill()
            self._idle.clear()

    def _give_back(self, reader: "_Reader") -> None:
        with self._lock:
            self._idle.append(reader)


class _Reader:
    """A process that has opened the slide."""

    def __init__(self, slide: tuple[Path, float | None], seconds: float) -> None:
        self._seconds = seconds
        self._process = subprocess.Popen(
            [sys.executable, "-m", "src.slides.reader_program"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # It computes in one thread, and each further one would take address space.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        self.pid = self._process.pid
        try:
            self.about: About = self.ask(slide)
        except ImageRefused:
            self.kill()
            raise

    def ask(self, request: tuple[Any, ...]) -> Any:
        """The reply. Raises ImageRefused, and ReaderDied where the process ends or takes too long."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(self._seconds, stop)
        timer.start()
        try:
            send(self._process.stdin, request)
            done, value = receive(self._process.stdout)
        except (OSError, EOFError) as error:
            self.kill()
            raise (ReaderLate(TOO_LONG) if late.is_set() else ReaderDied(ENDED)) from error
        finally:
            timer.cancel()
        if not done:
            raise ImageRefused(value)
        return value

    def kill(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
