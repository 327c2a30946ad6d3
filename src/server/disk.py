"""The folder of uploads and of files made from them: a new one for each run, swept, and limited in size.

Only the sweep deletes files. Gradio gives two visitors the same path if they upload the same bytes under the same name.
A visitor who deleted an image after use could delete it while another visitor still needs it.
"""

import json
import logging
import os
import shutil
import stat
import tempfile
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import BaseFileLock, FileLock, Timeout
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.server.rate_limit import visitor_of
from src.server.refusal import UPLOAD, Refusal, answer
from src.server.routes import is_slide_upload, leaves_files

PREFIX: Final = "vigil-"
LOCK: Final = ".lock"

UNFINISHED: Final = 600.0
"""Seconds that a file may lie at the top of the folder. Gradio writes an upload there until it is complete, which takes
less."""
KEPT: Final = 3300.0
"""Seconds that any other file is kept, for a page that stays open."""
IN_USE: Final = 60.0
"""Seconds in which a file is never deleted, however full the folder is."""
EVERY: Final = 60.0
"""Seconds between two sweeps."""

ROOM: Final = 2_000_000_000
"""The largest size of the folder in bytes. A sweep that finds more than half of it deletes the oldest files of the
visitors who have uploaded the most."""
SPARE: Final = 500_000_000
"""Bytes of the disk that are left free."""

PRIVATE: Final = 0o700

FULL: Final = Refusal(507, "There is no space for another image at the moment; try again in a few minutes.", 120)
GONE: Final = Refusal(503, "Nothing can be uploaded at the moment; try again in a few minutes.", 120)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claim:
    """A folder that belongs to this run while its process holds `lock`."""

    folder: Path
    lock: BaseFileLock
    owner: int
    """The user that owns the parent folder."""

    def ensure_folder(self) -> bool:
        """Whether the folder exists and only this user can open it.

        If a program that cleans temporary folders has removed the folder, it is created again, but not inside a parent
        folder that another user has created in the meantime.
        """
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            if self.folder.parent.stat().st_uid not in (self.owner, _user()):
                return False
            with suppress(FileExistsError):
                self.folder.mkdir(mode=PRIVATE)
                log.warning("The upload folder was missing and was created again")
            status = self.folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != _user():
                return False
            if stat.S_IMODE(status.st_mode) != PRIVATE and os.name == "posix":
                self.folder.chmod(PRIVATE)  # Gradio has made it again, to write a file
        except OSError:
            return False
        return True

    def renew(self) -> None:
        """Take the lock again if its file is gone. Without the file, the next run would not clear the folder."""
        file = self.folder.with_name(self.folder.name + LOCK)
        if self.ensure_folder() and not file.exists():
            with FileLock(_start(self.folder.parent)):
                self.lock.release()
                self.lock.acquire(blocking=False)


def _user() -> int:
    """The user id of this process. On Windows, which has none, it is 0, as `stat` gives for every file."""
    return os.getuid() if hasattr(os, "getuid") else 0


def _start(base: Path) -> Path:
    """The lock file that a process holds while it makes or clears folders in `base`."""
    return base / f"{PREFIX}start{LOCK}"


def claim(base: Path) -> Claim:
    """Make a new folder in `base` for this run, and delete the folders of ended runs.

    It touches only folders that claim() made and whose lock no process holds.
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
    """The ages in seconds at which files are deleted, and the time between two sweeps."""

    unfinished: float = UNFINISHED
    kept: float = KEPT
    in_use: float = IN_USE
    every: float = EVERY


class Disk:
    """The size of the claimed folder, as of the last sweep and with the uploads since."""

    def __init__(self, claimed: Claim, ages: Ages | None = None, room: int = ROOM, spare: int = SPARE) -> None:
        self.claimed, self.folder = claimed, claimed.folder
        self.ages, self.room, self.spare = ages or Ages(), room, spare
        self._held, self._ended = 0, threading.Event()
        self._visitors: dict[str, str] = {}
        self._sweeper = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        """Sweep from now on, in a thread, so that a load on the server delays no sweep."""
        self._sweeper.start()

    def stop(self) -> None:
        """Stop sweeping, and delete the folder."""
        self._ended.set()
        self._sweeper.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    def refusal(self) -> Refusal | None:
        """The refusal of a request that could write a file; None if it may."""
        if not self.claimed.ensure_folder():
            return GONE
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError:  # removed between the two calls
            return GONE
        return FULL if self._held >= self.room or free < self.spare else None

    def add(self, size: int) -> None:
        """Count `size` bytes of an upload."""
        self._held += size

    def uploaded(self, paths: Iterable[str], visitor: str) -> None:
        """Remember who uploaded these files."""
        self._visitors.update(dict.fromkeys(paths, visitor))

    def sweep(self, now: float) -> None:
        """Delete the files that are too old at `now` (seconds since the epoch), and make room in a full folder."""
        if not self.claimed.ensure_folder():
            return  # a link in its place would lead the sweep to other files
        kept: list[tuple[float, int, str]] = []
        held = 0
        for entry in files_in(self.folder):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # renamed meanwhile
            at_top = Path(entry.path).parent == self.folder
            if now - status.st_mtime > (self.ages.unfinished if at_top else self.ages.kept):
                _delete(entry.path, status.st_mtime)
            else:
                kept.append((status.st_mtime, status.st_size, entry.path))
                held += status.st_size
        known = {path for _, _, path in kept}
        self._visitors = {path: visitor for path, visitor in self._visitors.copy().items() if path in known}
        self._held = held - self._make_room(held - self.room // 2, kept, now)
        self._delete_empty(now)

    def _make_room(self, excess: int, kept: list[tuple[float, int, str]], now: float) -> int:
        """Delete files until `excess` bytes are gone; returns the bytes that are. Of the visitor who has the most, the
        oldest file goes first, so that a visitor who uploads much does not shorten the time of the others."""
        files: dict[str, deque[tuple[float, int, str]]] = defaultdict(deque)
        sizes: Counter[str] = Counter()
        for modified, size, path in sorted(kept):
            visitor = self._visitors.get(path, "")
            sizes[visitor] += size
            if now - modified >= self.ages.in_use:
                files[visitor].append((modified, size, path))
        deleted = 0
        while deleted < excess and files:
            visitor = max(files, key=sizes.__getitem__)
            modified, size, path = files[visitor].popleft()
            if not files[visitor]:
                del files[visitor]
            _delete(path, modified)
            sizes[visitor] -= size
            deleted += size
        return deleted

    def _delete_empty(self, now: float) -> None:
        for folder, _, _ in os.walk(self.folder, topdown=False):
            path = Path(folder)
            try:
                # Gradio makes a folder first and moves the file into it later.
                if path != self.folder and now - path.stat().st_mtime > self.ages.in_use:
                    path.rmdir()
            except OSError:
                continue  # it has files in it, or is gone

    def _run(self) -> None:
        while not self._ended.wait(self.ages.every):
            try:
                self.claimed.renew()
                self.sweep(time.time())
            except OSError:
                log.exception("The upload folder could not be swept")


def files_in(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The files in a folder and its subfolders. Links are not followed."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from files_in(Path(entry.path))
        else:
            yield entry


def _delete(path: str, modified: float) -> None:
    """Delete a file whose modification time is still `modified`: nobody has uploaded the same file again."""
    with suppress(FileNotFoundError):
        if os.lstat(path).st_mtime == modified:
            os.unlink(path)  # noqa: PTH108


class DiskSpace:
    """ASGI middleware that refuses requests which may write a file, while `disk` is full or missing.

    Visitors, which names the visitor, must come before it.
    """

    def __init__(self, app: ASGIApp, disk: Disk) -> None:
        self.app = app
        self.disk = disk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def count() -> Message:
            message = await receive()
            self.disk.add(len(message.get("body", b"")))
            return message

        answered: list[bytes] = []

        async def keep(message: Message) -> None:
            answered.append(message.get("body", b""))
            await send(message)

        refusal = self.disk.refusal() if leaves_files(scope) else None
        if refusal:
            await answer(refusal, scope, receive, send)
        elif is_slide_upload(scope):
            await self.app(scope, count, send)
        elif scope["path"] == UPLOAD:
            await self.app(scope, count, keep)
            self.disk.uploaded(_paths(b"".join(answered)), visitor_of(scope))
        else:
            await self.app(scope, receive, send)


def _paths(answered: bytes) -> list[str]:
    """The paths in Gradio's answer to an upload; none if the answer is another."""
    try:
        found = json.loads(answered)
    except ValueError:
        return []
    return [path for path in found if isinstance(path, str)] if isinstance(found, list) else []
