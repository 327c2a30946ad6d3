"""src/server/disk.py: each run has its own upload folder, which is swept, limited in size and private."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from filelock import FileLock
from limits import parse

from src.fair_queue import Turns
from src.server import disk
from src.server.bodies import LIMIT
from src.server.disk import Ages, Claim, Disk, DiskSpace, claim
from src.server.hosts import AllowedHosts
from src.server.middleware import guarded
from src.server.rate_limit import Allowed
from src.server.refusal import UPLOAD
from src.server.routes import HEALTH
from tests.support.app import ROOT
from tests.support.event_loop import run


def put(path: Path, age: float, size: int = 10) -> Path:
    """A file that was last written so many seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.truncate(size)
    written = time.time() - age
    for each in (path, path.parent):
        os.utime(each, (written, written))
    return path


def ours(folder: Path) -> Claim:
    """A folder as if claimed."""
    return Claim(folder, FileLock(folder.with_name(folder.name + disk.LOCK)), os.getuid())


def test_leftovers_go_within_fifteen_minutes_the_rest_within_the_hour(tmp_path: Path) -> None:
    aborted = put(tmp_path / "tmp123", disk.UNFINISHED + 1)
    coming = put(tmp_path / "tmp456", disk.UNFINISHED - 200)
    old = put(tmp_path / "hash1" / "picture.png", disk.KEPT + 1)
    link = put(tmp_path / "deep_links" / "x" / "state.json", disk.KEPT + 1)
    shown = put(tmp_path / "hash2" / "picture.png", disk.KEPT - 200)
    swept = Disk(ours(tmp_path))
    swept.sweep(time.time())
    assert [path.exists() for path in (aborted, coming, old, link, shown)] == [False, True, False, False, True]
    begun = tmp_path / "hash3"
    begun.mkdir()  # Gradio will move a file into it
    later = time.time() + disk.IN_USE + 1
    os.utime(begun, (later, later))
    swept.sweep(later)
    assert {path.name for path in tmp_path.iterdir()} == {"tmp456", "hash2", "hash3"}
    assert disk.UNFINISHED + disk.EVERY < 15 * 60
    assert disk.KEPT + disk.EVERY < 60 * 60


def test_links_are_not_followed(tmp_path: Path) -> None:
    theirs = put(tmp_path / "theirs" / "file", disk.KEPT + 1)
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "folder").symlink_to(theirs.parent, target_is_directory=True)
    (folder / "file").symlink_to(theirs)
    Disk(ours(folder)).sweep(time.time() + 2 * disk.KEPT)
    assert theirs.exists()


def test_what_is_uploaded_anew_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(tmp_path / "hash" / "picture.png", disk.KEPT + 1)
    find = disk.files_in

    def renewed(folder: Path) -> Any:
        for entry in find(folder):
            entry.stat(follow_symlinks=False)  # which an entry remembers
            os.utime(entry.path)
            yield entry

    monkeypatch.setattr(disk, "files_in", renewed)
    Disk(ours(tmp_path)).sweep(time.time())
    assert file.exists()
    Disk(ours(tmp_path), room=0).sweep(time.time() + disk.IN_USE)
    assert file.exists(), "also where there is little room"


def test_where_there_is_little_room_the_oldest_goes_first(tmp_path: Path) -> None:
    files = [put(tmp_path / f"hash{age}" / "picture.png", age, 100) for age in (900, 700, 500, 300, 100, 10)]
    swept = Disk(ours(tmp_path), room=500, spare=0)
    swept.sweep(time.time())
    assert [path.exists() for path in files] == [False] * 4 + [True] * 2
    assert swept.refusal() is None
    # ... but not what may be in use
    files = [put(tmp_path / f"new{i}" / "picture.png", 1, 100) for i in range(5)]
    swept.sweep(time.time())
    assert all(path.exists() for path in files)
    assert swept.refusal() == disk.FULL


def test_who_uploads_much_makes_room_alone(tmp_path: Path) -> None:
    theirs = [put(tmp_path / f"theirs{age}" / "picture.png", age, 100) for age in (900, 800)]
    much = [put(tmp_path / f"much{age}" / "picture.png", age, 100) for age in (600, 500, 400, 300, 200)]
    swept = Disk(ours(tmp_path), room=800, spare=0)
    swept.uploaded(map(str, theirs), "a")
    swept.uploaded(map(str, much), "b")
    swept.sweep(time.time())
    assert [path.exists() for path in theirs] == [True, True]
    assert [path.exists() for path in much] == [False] * 3 + [True] * 2
    # Nobody is spared if that does not suffice.
    small = Disk(ours(tmp_path), room=200, spare=0)
    small.uploaded(map(str, theirs), "a")
    small.uploaded(map(str, much), "b")
    small.sweep(time.time())
    assert sum(path.exists() for path in (*theirs, *much)) == 1


def test_the_visitor_of_an_upload_is_remembered(tmp_path: Path) -> None:
    paths = [put(tmp_path / f"hash{i}" / "picture.png", 900 - i, 100) for i in range(4)]

    async def stored(_: Any, receive: Any, send: Any) -> None:
        answered = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answered[:5], "more_body": True})
        await send({"type": "http.response.body", "body": answered[5:]})

    swept = Disk(ours(tmp_path), room=600, spare=0)
    space = DiskSpace(stored, swept)
    for visitor, some in (("a", paths[:1]), ("b", paths[1:])):

        async def named(scope: Any, receive: Any, send: Any, visitor: str = visitor) -> None:
            await space({**scope, "visitor": visitor}, receive, send)

        ask(named, UPLOAD, json.dumps(list(map(str, some))).encode())
    ask(named, UPLOAD, b"no JSON")
    swept.sweep(time.time())
    assert [path.exists() for path in paths] == [True, False, True, True]


def ask(
    app: Any, path: str, body: bytes | AsyncIterator[bytes], headers: dict[str, str] | None = None
) -> httpx.Response:
    async def visited(scope: Any, receive: Any, send: Any) -> None:
        await app({"visitor": "x", **scope}, receive, send)

    async def post() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(visited), base_url="http://x") as client:
            return await client.post(path, content=body, headers=headers)

    return run(post())


async def taking(scope: Any, receive: Any, send: Any) -> None:
    """An app that takes in whatever is sent."""
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_what_is_refused_takes_no_room(tmp_path: Path) -> None:
    async def large() -> AsyncIterator[bytes]:
        for _ in range(4 * LIMIT // 2**20):
            yield b"x" * 2**20

    limits = Allowed(parse("1000/minute"), parse("1000/minute"), 0)
    hosts = AllowedHosts(frozenset("x"))
    app = guarded(
        taking, gr.Blocks(), Disk(ours(tmp_path), room=9 * LIMIT, spare=0), limits, hosts, Turns(1, patience=20), 100
    )
    form = {"Content-Type": "multipart/form-data; boundary=edge"}
    assert [ask(app, UPLOAD, large(), form).status_code for _ in range(4)] == [413] * 4
    assert ask(app, UPLOAD, b"x", form).status_code == 200


def test_uploads_are_refused_before_the_disk_is_full(tmp_path: Path) -> None:
    small = Disk(ours(tmp_path), room=1000, spare=0)
    # What has come since the last sweep counts, whether or not it was kept
    statuses = [ask(DiskSpace(taking, small), UPLOAD, b"x" * 400).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 507, 507]
    refused = ask(DiskSpace(taking, small), "/gradio_api/queue/join", b"")
    assert refused.status_code == 507
    assert refused.json()["detail"] == disk.FULL.sentence
    assert int(refused.headers["retry-after"]) >= disk.EVERY
    assert ask(DiskSpace(taking, small), "/gradio_api/run/predict", b"x" * 400).status_code == 200
    small.sweep(time.time())
    assert ask(DiskSpace(taking, small), UPLOAD, b"x" * 400).status_code == 200
    crowded = Disk(ours(tmp_path), spare=2**60)
    assert ask(DiskSpace(taking, crowded), UPLOAD, b"x").status_code == 507


def test_sweeping_goes_on_by_itself_until_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    swept = Disk(ours(folder), Ages(unfinished=0.2, kept=0.2, in_use=0.0, every=0.05))
    swept.start()
    (folder / "tmp1").touch()
    (folder / "hash").mkdir()
    (folder / "hash" / "picture.png").touch()
    until = time.monotonic() + 20
    while list(folder.iterdir()) and time.monotonic() < until:
        time.sleep(0.05)
    assert list(folder.iterdir()) == []
    swept.stop()
    assert not folder.exists()
    assert tmp_path.exists()


def health(app: Any) -> int:
    async def get() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            return (await client.get(HEALTH)).status_code

    return run(get())


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Claim]:
    claimed = claim(tmp_path / "base")
    yield claimed
    claimed.lock.release()


def served(claimed: Claim) -> Any:
    """An app that writes what it is sent, in the folder, as Gradio does."""

    async def writing(scope: Any, receive: Any, send: Any) -> None:
        (claimed.folder / "picture.png").write_bytes((await receive())["body"])
        await taking(scope, receive, send)

    limits = Allowed(parse("1000/minute"), parse("1000/minute"), 0)
    return guarded(
        writing, gr.Blocks(), Disk(claimed, spare=0), limits, AllowedHosts(frozenset("x")), Turns(1, patience=20), 100
    )


FORM = {"Content-Type": "multipart/form-data; boundary=edge"}


@pytest.mark.parametrize("gone", ["folder", "base"])
def test_a_folder_that_has_gone_is_made_again_as_it_was(gone: str, held: Claim) -> None:
    app = served(held)

    def swept() -> bool:
        Disk(held).sweep(time.time())
        return True

    for use in (lambda: ask(app, UPLOAD, b"x", FORM).status_code == 200, lambda: health(app) == 200, swept):
        shutil.rmtree(held.folder if gone == "folder" else held.folder.parent)
        assert use()
        assert held.folder.stat().st_mode & 0o777 == disk.PRIVATE
    # As Gradio makes it, where it comes first
    held.folder.chmod(0o755)
    assert ask(app, UPLOAD, b"x", FORM).status_code == 200
    assert held.folder.stat().st_mode & 0o777 == disk.PRIVATE


def link(held: Claim, elsewhere: Path) -> None:
    held.folder.symlink_to(elsewhere, target_is_directory=True)


def file(held: Claim, _: Path) -> None:
    held.folder.write_text("no folder")


@pytest.mark.parametrize("put_there", [link, file])
def test_what_others_put_in_its_place_is_not_used_but_reported(
    put_there: Callable[[Claim, Path], None], held: Claim, tmp_path: Path
) -> None:
    theirs = put(tmp_path / "theirs" / "file", 2 * disk.KEPT)
    app = served(held)
    shutil.rmtree(held.folder)
    put_there(held, theirs.parent)
    assert health(app) == 503
    refused = ask(app, UPLOAD, b"x", FORM)
    assert refused.status_code == 503
    assert refused.text == disk.GONE.sentence
    Disk(held).sweep(time.time())
    assert [each.name for each in theirs.parent.iterdir()] == ["file"], "neither written nor swept"
    held.folder.unlink()
    assert health(app) == 200
    assert ask(app, UPLOAD, b"x", FORM).status_code == 200


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("whose", ["folder", "base"])
def test_a_folder_of_somebody_elses_is_not_used(whose: str, held: Claim) -> None:
    app, base = served(held), held.folder.parent
    shutil.rmtree(base)
    base.mkdir()
    if whose == "folder":
        held.folder.mkdir()
    os.chown(held.folder if whose == "folder" else base, 65534, 65534)
    assert health(app) == 503
    assert ask(app, UPLOAD, b"x", FORM).status_code == 503


def test_the_next_run_clears_a_folder_whose_lock_had_gone(tmp_path: Path) -> None:
    first = claim(tmp_path)
    lock = first.folder.with_name(first.folder.name + disk.LOCK)
    lock.unlink()
    first.renew()
    assert lock.exists()
    second = claim(tmp_path)
    assert first.folder.exists(), "still held"
    first.lock.release()
    third = claim(tmp_path)
    assert not first.folder.exists()
    for each in (second, third):
        each.lock.release()


HOLD = """
import sys
from pathlib import Path
from src.server.bodies import LIMIT
from src.server.disk import claim
held = claim(Path(sys.argv[1]))
(held.folder / "picture.png").write_text("of a visitor")
print(held.folder, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_a_start_clears_what_ended_runs_left_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path / "theirs.png", 10**6)
    put(tmp_path / "vigil-album" / "theirs.png", 10**6)
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    folders = []
    for held in runs:
        assert held.stdout
        folders.append(Path(held.stdout.readline().strip()))
    assert all((folder / "picture.png").exists() for folder in folders)
    runs[0].kill()
    runs[0].wait()
    mine = claim(tmp_path)
    try:
        assert not folders[0].exists(), "killed"
        assert (folders[1] / "picture.png").exists(), "still running"
        assert mine.folder.stat().st_mode & 0o777 == 0o700
    finally:
        runs[1].kill()
        runs[1].wait()
    mine.lock.release()
    last = claim(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    lock = last.folder.name + disk.LOCK
    assert left == {"theirs.png", "vigil-album", last.folder.name, lock, f"{disk.PREFIX}start{disk.LOCK}"}
    last.lock.release()
