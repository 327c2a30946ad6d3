"""The folder of uploads and of what is made from them: its own for each run, swept, and never filled."""

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import BaseFileLock, FileLock, Timeout
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.server.refusal import UPLOAD, Refusal, answer
from src.server.routes import leaves_files

PREFIX: Final = "vigil-"
LOCK: Final = ".lock"

UNFINISHED: Final = 600.0
"""Seconds that a file may lie at the top, where Gradio writes an upload until it is whole: longer than one can take."""
KEPT: Final = 3300.0
"""Seconds that anything else is kept, for a page that stays open."""
IN_USE: Final = 60.0
"""Seconds in which nothing is taken away, however little room there is."""
EVERY: Final = 60.0

ROOM: Final = 2_000_000_000
"""Bytes that the folder may hold. From half of it on, what is oldest goes first."""
SPARE: Final = 500_000_000
"""Bytes that stay free on the disk."""

FULL: Final = Refusal(507, "There is no room for another picture just now; try again in a few minutes.", 120)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claim:
    """A folder of this run alone, for as long as `lock` is held."""

    folder: Path
    lock: BaseFileLock


def claim(base: Path) -> Claim:
    """Make a new folder in `base` for this run, and delete what ended runs left there.

    Only folders that claim() made, and that no living process holds, are touched.
    """
    base.mkdir(parents=True, exist_ok=True)
    with FileLock(base / f"{PREFIX}start{LOCK}"):
        for held in base.glob(f"{PREFIX}run-*{LOCK}"):
            left = FileLock(held)
            try:
                left.acquire(blocking=False)
            except Timeout:
                continue
            shutil.rmtree(held.with_suffix(""), ignore_errors=True)
            left.release()
            held.unlink(missing_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}run-", dir=base))
        lock = FileLock(folder.with_name(folder.name + LOCK))
        lock.acquire(blocking=False)
    return Claim(folder, lock)


@dataclass(frozen=True)
class Ages:
    """How long files are kept, in seconds, and how often is looked."""

    unfinished: float = UNFINISHED
    kept: float = KEPT
    in_use: float = IN_USE
    every: float = EVERY


class Disk:
    """What `folder` holds, as of the last sweep and what has been uploaded since."""

    def __init__(self, folder: Path, ages: Ages | None = None, room: int = ROOM, spare: int = SPARE) -> None:
        self.folder, self.ages, self.room, self.spare = folder, ages or Ages(), room, spare
        self._held, self._ended = 0, threading.Event()
        self._sweeper = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        """Sweep from now on, beside the server, so that no load on it delays that."""
        self._sweeper.start()

    def stop(self) -> None:
        """Sweep no more, and delete what there is."""
        self._ended.set()
        self._sweeper.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    def full(self) -> bool:
        """Whether nothing more may be put there."""
        return self._held >= self.room or shutil.disk_usage(self.folder).free < self.spare

    def add(self, size: int) -> None:
        """Count `size` bytes that are being uploaded."""
        self._held += size

    def sweep(self, now: float) -> None:
        """Delete what is too old at `now` (seconds since the epoch), or the oldest where there is little room."""
        kept: list[tuple[float, int, str]] = []
        for entry in _files(self.folder):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # renamed meanwhile
            at_top = Path(entry.path).parent == self.folder
            if now - status.st_mtime > (self.ages.unfinished if at_top else self.ages.kept):
                _delete(entry.path)
            else:
                kept.append((status.st_mtime, status.st_size, entry.path))
        held = sum(size for _, size, _ in kept)
        for modified, size, path in sorted(kept):
            if held <= self.room // 2 or now - modified < self.ages.in_use:
                break
            _delete(path)
            held -= size
        self._held = held
        self._delete_empty(now)

    def _delete_empty(self, now: float) -> None:
        for folder, _, _ in os.walk(self.folder, topdown=False):
            path = Path(folder)
            try:
                # Gradio makes a folder, then moves the file into it.
                if path != self.folder and now - path.stat().st_mtime > self.ages.in_use:
                    path.rmdir()
            except OSError:
                continue  # it holds something, or has gone

    def _run(self) -> None:
        while not self._ended.wait(self.ages.every):
            try:
                self.sweep(time.time())
            except OSError:
                log.exception("The upload folder could not be swept")


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        else:
            yield entry


def _delete(path: str) -> None:
    Path(path).unlink(missing_ok=True)


class Room:
    """ASGI middleware that takes nothing more in while `disk` is full."""

    def __init__(self, app: ASGIApp, disk: Disk) -> None:
        self.app = app
        self.disk = disk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def count() -> Message:
            message = await receive()
            self.disk.add(len(message.get("body", b"")))
            return message

        if leaves_files(scope) and self.disk.full():
            await answer(FULL, scope, receive, send)
        else:
            await self.app(scope, count if scope["path"] == UPLOAD else receive, send)
