"""Uploads that two visitors share, and the folder of uploads taken away (sections 1 and 7)."""

import io
import json
import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from src.server import disk
from src.server.refusal import UPLOAD
from src.server.routes import HEALTH
from tests.attack.bench import Bench, Checks
from tests.attack.row import Row
from tests.attack.visitor import Visitor
from tests.support.app import ROOT

EXAMPLE = ROOT / "examples" / "skin" / "irregular.jpg"
TABLE = b"p_malignant,label\n" + b"0.9,malignant\n0.1,benign\n" * 100


def function(visitor: Visitor, **props: Any) -> Mapping[str, Any]:
    """The page's function whose first input has these properties."""
    config = visitor.http.get("/config").json()
    wanted = {part["id"] for part in config["components"] if props == {name: part["props"].get(name) for name in props}}
    return next(each for each in config["dependencies"] if each["backend_fn"] and wanted & set(each["inputs"][:1]))


def read_many(visitor: Visitor, file: Mapping[str, Any], session: str) -> str:
    """The answer of "Many images" to one file."""
    data = f'[{json.dumps(file)}], "skin", 0.3, null'
    return visitor.call_by_number(function(visitor, file_count="multiple"), data, session)


def read_table(visitor: Visitor, file: Mapping[str, Any], session: str) -> str:
    """The answer of "Your clinic" to a table."""
    return visitor.call_by_number(function(visitor, file_types=[".csv"]), f'{json.dumps(file)}, "skin"', session)


def shared(bench: Bench) -> Iterator[Row]:
    """Two visitors upload the same bytes under the same name. One reads them on every tab, then the other."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a.jpg", EXAMPLE.read_bytes())
    one, other = Visitor(bench.app.url), Visitor(bench.app.url)
    kinds = (
        ("picture.jpg", EXAMPLE.read_bytes(), read_many, "irregular"),
        ("pictures.zip", archive.getvalue(), read_many, "a.jpg"),
        ("table.csv", TABLE, read_table, "200 cases"),
    )
    alike, wrong = 0, []
    for number, (name, content, reading, _) in enumerate(kinds):
        mine, theirs = one.upload(content, name), other.upload(content, name)
        alike += mine["path"] == theirs["path"]
        reading(other, theirs, f"other{number}")
        if one.http.get(f"/gradio_api/file={mine['path']}").status_code != httpx.codes.OK:
            wrong.append(f"{name} has gone")
        if "process_completed" not in (said := reading(one, mine, f"one{number}")) or "could not be opened" in said:
            wrong.append(f"{name}: {said[:100]}")
    yield Row(
        1,
        "The same image, zip and table uploaded by two visitors, and read by one of them first",
        len(kinds),
        f"{alike} pairs have one path; what the other then cannot read: {'; '.join(wrong) or 'nothing'}.",
        alike == len(kinds) and not wrong,
    )


def vanished(bench: Bench) -> Iterator[Row]:
    """Delete the folder while the app runs, as cleaners of temporary folders do. Then put a link in its place."""
    (run,) = (path for path in bench.app.uploads.glob(f"{disk.PREFIX}run-*") if path.is_dir())
    visitor, wrong, times = Visitor(bench.app.url), [], 3 if bench.short else 20
    for number in range(times):
        shutil.rmtree(run if number % 2 else bench.app.uploads)
        if number % 3 == 0 and (status := visitor.http.get(HEALTH).status_code) != httpx.codes.OK:
            wrong.append(f"{HEALTH} {status}")
        said = visitor.http.post(UPLOAD, files={"files": ("picture.jpg", EXAMPLE.read_bytes())})
        if said.status_code != httpx.codes.OK:
            wrong.append(f"an upload {said.status_code}")
            continue
        file = {"path": said.json()[0], "meta": {"_type": "gradio.FileData"}, "orig_name": "picture.jpg"}
        if "event: complete" not in (answer := visitor.ask("skin", [file, 0.3, "Grad-CAM"])):
            wrong.append(f"an answer {answer[:80]}")
        if (mode := run.stat().st_mode & 0o777) != disk.PRIVATE:
            wrong.append(f"mode {mode:o}")
    yield Row(
        7,
        "The folder of uploads, or its parent folder, deleted by another program",
        times,
        f"It is created again with access for its user only, and the next image is read. Exceptions: {_some(wrong)}.",
        not wrong,
    )
    elsewhere = bench.folder / "elsewhere"
    elsewhere.mkdir()
    kept = elsewhere / "old.txt"
    kept.write_text("of somebody else")
    shutil.rmtree(run)
    run.symlink_to(elsewhere, target_is_directory=True)
    status, said = visitor.http.get(HEALTH).status_code, visitor.http.post(UPLOAD, files={"files": ("a.jpg", b"x")})
    time.sleep(0 if bench.short else 1.5 * disk.EVERY)  # in which it is swept
    left = sorted(path.name for path in elsewhere.iterdir())
    run.unlink()
    again = visitor.http.get(HEALTH).status_code
    yield Row(
        7,
        "A link to another folder put in its place",
        1,
        f"{HEALTH} says {status}, an upload {said.status_code} ({said.text!r}), {HEALTH} without the link {again}; the "
        f"other folder holds {', '.join(left)}.",
        (status, said.status_code, again) == (503, 503, 200) and left == [kept.name],
    )


def _some(wrong: list[str]) -> str:
    return "; ".join(wrong[:3]) or "nothing"


CHECKS: Checks = {1: (shared,), 7: (vanished,)}
