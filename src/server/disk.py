"""The folder of uploads and of what is made from them: its own for each run, swept, and never filled.

Only the sweep deletes. Two visitors who upload the same bytes under the same name are given the same path by Gradio, so
that whoever deletes a file that they have read may take it from somebody else who still reads it.
"""

import logging
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
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

PRIVATE: Final = 0o700

FULL: Final = Refusal(507, "There is no room for another picture just now; try again in a few minutes.", 120)
GONE: Final = Refusal(503, "Nothing can be uploaded just now; try again in a few minutes.", 120)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claim:
    """A folder of this run alone, for as long as `lock` is held."""

    folder: Path
    lock: BaseFileLock
    owner: int
    """Who the folder above belongs to."""

    def here(self) -> bool:
        """Whether the folder is there, for this user alone. Makes it again where it has gone, as programs that clean
        temporary folders take it away, but never in a place that somebody else has made meanwhile."""
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            if self.folder.parent.stat().st_uid not in (self.owner, _user()):
                return False
            with suppress(FileExistsError):
                self.folder.mkdir(mode=PRIVATE)
                log.warning("The upload folder had gone and was made again")
            status = self.folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != _user():
                return False
            if stat.S_IMODE(status.st_mode) != PRIVATE and os.name == "posix":
                self.folder.chmod(PRIVATE)  # made again by Gradio, for a file that it was about to write
        except OSError:
            return False
        return True

    def renew(self) -> None:
        """Hold the lock again where its file has gone: the next run would not know of the folder, nor clear it."""
        file = self.folder.with_name(self.folder.name + LOCK)
        if self.here() and not file.exists():
            with FileLock(_start(self.folder.parent)):
                self.lock.release()
                self.lock.acquire(blocking=False)


def _user() -> int:
    """Who this process runs as; 0, as whose files all are, where there are no users (Windows)."""
    return os.getuid() if hasattr(os, "getuid") else 0


def _start(base: Path) -> Path:
    """What whoever makes or clears folders in `base` holds."""
    return base / f"{PREFIX}start{LOCK}"


def claim(base: Path) -> Claim:
    """Make a new folder in `base` for this run, and delete what ended runs left there.

    Only folders that claim() made, and that no living process holds, are touched.
    """
    base.mkdir(parents=True, exist_ok=True)
    with FileLock(_start(base)):
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
    return Claim(folder, lock, base.stat().st_uid)


@dataclass(frozen=True)
class Ages:
    """How long files are kept, in seconds, and how often is looked."""

    unfinished: float = UNFINISHED
    kept: float = KEPT
    in_use: float = IN_USE
    every: float = EVERY


class Disk:
    """What the claimed folder holds, as of the last sweep and what has been uploaded since."""

    def __init__(self, claimed: Claim, ages: Ages | None = None, room: int = ROOM, spare: int = SPARE) -> None:
        self.claimed, self.folder = claimed, claimed.folder
        self.ages, self.room, self.spare = ages or Ages(), room, spare
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

    def refusal(self) -> Refusal | None:
        """Why nothing more may be put there; None where it may."""
        if not self.claimed.here():
            return GONE
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError:  # gone between the two
            return GONE
        return FULL if self._held >= self.room or free < self.spare else None

    def add(self, size: int) -> None:
        """Count `size` bytes that are being uploaded."""
        self._held += size

    def sweep(self, now: float) -> None:
        """Delete what is too old at `now` (seconds since the epoch), or the oldest where there is little room."""
        if not self.claimed.here():
            return  # by a link in its place somebody else's files would be swept
        kept: list[tuple[float, int, str]] = []
        for entry in _files(self.folder):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # renamed meanwhile
            at_top = Path(entry.path).parent == self.folder
            if now - status.st_mtime > (self.ages.unfinished if at_top else self.ages.kept):
                _delete(entry.path, status.st_mtime)
            else:
                kept.append((status.st_mtime, status.st_size, entry.path))
        held = sum(size for _, size, _ in kept)
        for modified, size, path in sorted(kept):
            if held <= self.room // 2 or now - modified < self.ages.in_use:
                break
            _delete(path, modified)
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
                self.claimed.renew()
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


def _delete(path: str, modified: float) -> None:
    """Delete a file that was last written then, unless somebody has uploaded the same anew since."""
    with suppress(FileNotFoundError):
        if os.lstat(path).st_mtime == modified:
            os.unlink(path)  # noqa: PTH108


class DiskSpace:
    """ASGI middleware that takes nothing more in while `disk` is full or not there."""

    def __init__(self, app: ASGIApp, disk: Disk) -> None:
        self.app = app
        self.disk = disk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def count() -> Message:
            message = await receive()
            self.disk.add(len(message.get("body", b"")))
            return message

        refusal = self.disk.refusal() if leaves_files(scope) else None
        if refusal:
            await answer(refusal, scope, receive, send)
        else:
            await self.app(scope, count if scope["path"] == UPLOAD else receive, send)
