"""The traces of a visit on disk, in the log, in the server's memory and in the browser."""

import csv
import json
import os
import re
import shutil
import socket
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path

import httpx
import pytest
from filelock import FileLock
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import Browser, FilePayload, expect

from src.server.disk import Ages, Claim, Disk
from src.service.read_picture import REPORTS
from src.tasks import TASKS
from tests.support import synthetic_checkpoints
from tests.support.app import ROOT, Server, running
from tests.support.chat_server import ChatServer, serving_chat
from tests.support.chromium import PATIENCE
from tests.support.page_actions import open_section, open_tab, upload
from tests.support.personal_data import CANARY, EXIF, NAME, TOKEN

HOUR = 3600
SWEEP_SECONDS = 5
IN_USE = 20
"""Seconds in which the sweep leaves an empty folder. The visit takes about as long, so that a test need not wait."""

# Verbose: what is not written then is never written. It sweeps more often, so that a test need not wait for minutes.
PROGRAM = f"""
import functools, logging
import app
from src.server import disk

logging.getLogger("src").setLevel("DEBUG")
disk.Ages = functools.partial(disk.Ages, every={SWEEP_SECONDS}, in_use={IN_USE})
app.main()
"""


def picture(kind: str = "JPEG", side: int = 200) -> bytes:
    """A picture that says in its metadata whose it is; no two are alike."""
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = EXIF
    file = BytesIO()
    Image.effect_noise((side, side - 40), 70).convert("RGB").save(file, kind, exif=exif)
    return file.getvalue()


@dataclass(frozen=True)
class Visit:
    """An app that was visited in every way, the folders that are its own, and what the browser kept."""

    app: Server
    home: Path
    temporary: Path
    began: float
    early: Path
    kept: str
    writer: ChatServer


@pytest.fixture(scope="module")
def visit(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    folder = tmp_path_factory.mktemp("visited")
    home, temporary = folder / "home", folder / "tmp"
    home.mkdir()
    temporary.mkdir()
    with serving_chat() as writer:
        settings = {
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "VIGIL_WRITER_URL": writer.url,
            **{
                f"VIGIL_WEIGHTS_{task.upper()}": str(synthetic_checkpoints.write(folder / task, task)) for task in TASKS
            },
        }
        began = time.time()
        with running(folder, settings, ("-c", PROGRAM)) as app:
            early = Path(uploaded(app, picture(), f"{NAME}-early.jpg"))
            os.utime(early, (began - HOUR, began - HOUR))
            kept = by_page(app, browser)
            by_api(app, folder)
            by_hand(app)
            yield Visit(app, home, temporary, began, early, kept, writer)
        assert not list(app.uploads.glob("vigil-run-*/")), "gone with the app"


def uploaded(app: Server, content: bytes, name: str, field: str = "files") -> str:
    """Where the server put it."""
    answer = httpx.post(f"{app.url}/gradio_api/upload", files={field: (name, content)}, timeout=60)
    return str(next(iter(answer.json() if answer.is_success else []), ""))


def by_page(app: Server, browser: Browser) -> str:
    """Read pictures, good and bad, take reports away, have it explained; returns what the browser keeps of it."""
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.goto(app.url)
    panel = open_tab(page, "skin")
    upload(panel, FilePayload(name=f"{NAME}.jpg", mimeType="image/jpeg", buffer=picture()))
    word = panel.locator(".v-word")
    expect(word).to_have_text(re.compile("^(Refer|No referral)$"))
    open_section(panel, "Report")
    for kind in REPORTS:
        with page.expect_download():
            panel.get_by_role("button", name=f"Report ({kind.upper()})").click()
    panel.get_by_role("button", name="In plain words, written by a machine").click()
    panel.get_by_label("Your own token for").fill(TOKEN)
    panel.get_by_role("button", name="Explain in plain words").click()
    expect(panel.get_by_label("Written explanation")).to_contain_text("See a clinician")
    panel.get_by_role("button", name="Clear").or_(panel.get_by_role("button", name="Remove")).first.click()
    expect(panel.locator(".v-empty")).to_be_visible()
    upload(panel, FilePayload(name=f"{NAME}-cut.jpg", mimeType="image/jpeg", buffer=picture()[:4000]))
    expect(panel.get_by_role("alert").first).to_contain_text("cut off")
    page.get_by_role("tab", name="Many images").click()
    many = page.get_by_role("tabpanel").filter(has=page.get_by_role("button", name="Read all"))
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(f"{NAME}-packed.jpg", picture())
        packed.writestr(f"{NAME}-packed-damaged.jpg", picture()[:4000])
    many.locator("input[type=file]").first.set_input_files(
        FilePayload(name=f"{NAME}.zip", mimeType="application/zip", buffer=archive.getvalue())
    )
    expect(many.get_by_text(NAME, exact=False).first).to_be_visible()
    many.get_by_role("button", name="Read all").click()
    expect(many.get_by_text(f"{NAME}-packed-damaged.jpg").first).to_be_visible()
    page.get_by_role("tab", name="Your clinic").click()
    table = StringIO()
    csv.writer(table).writerows([["path", "p_malignant", "label"], [f"{NAME}.jpg", "0.5", "malignant"]])
    page.locator("input[type=file][accept*=csv]").first.set_input_files(
        FilePayload(name=f"{NAME}.csv", mimeType="text/csv", buffer=table.getvalue().encode())
    )
    expect(page.get_by_text("malignant", exact=False).last).to_be_visible()
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])")
    stored = json.dumps([kept, context.storage_state(indexed_db=True)])
    context.close()
    return stored


def by_api(app: Server, folder: Path) -> None:
    """Read pictures of every format, and what cannot be read."""
    client = Client(app.url, verbose=False, download_files=str(folder / "downloads"))
    for task, kind in zip(TASKS, ("JPEG", "PNG", "WEBP", "TIFF"), strict=True):
        file = folder / f"{NAME}-{task}.{kind.lower()}"
        file.write_bytes(picture(kind))
        client.predict(handle_file(file), 0.3, "Grad-CAM", api_name=f"/{task}")
    for name, content in (("damaged", picture()[:-2000]), ("refused", b"GIF89a" + EXIF.encode()), ("empty", b"")):
        bad = folder / f"{NAME}-{name}.jpg"
        bad.write_bytes(content)
        with pytest.raises(AppError):
            client.predict(handle_file(bad), 0.3, "none", api_name="/skin")
    client.predict("skin", handle_file(folder / f"{NAME}-skin.jpeg"), 0.3, api_name="/robustness")


def by_hand(app: Server) -> None:
    """What no client does: uploads that are broken off, hidden or too large, and arguments that are no picture."""
    host, port = app.url.removeprefix("http://").split(":")
    head = (
        "POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n"
        "Content-Type: multipart/form-data; boundary=edge\r\n\r\n--edge\r\n"
        f'Content-Disposition: form-data; name="files"; filename="{NAME}-aborted.jpg"\r\n\r\n'
    )
    with socket.create_connection((host, int(port)), timeout=20) as aborted:
        aborted.sendall(head.encode() + picture(side=800))
        time.sleep(1)
    uploaded(app, picture(), f"{NAME}-field.jpg", field="picture")
    uploaded(app, picture() + bytes(13_000_000), f"{NAME}-large.jpg")
    for image in (f"/etc/{NAME}.jpg", f"data:image/png;base64,{NAME}", f"http://127.0.0.1:9/{NAME}.jpg", {"x": NAME}):
        for data in ([{"path": image}, 0.3, "none"], [image, NAME, NAME]):
            httpx.post(f"{app.url}/gradio_api/call/skin", json={"data": data}, timeout=60)
    httpx.post(f"{app.url}/gradio_api/call/{NAME}", json={"data": [NAME]}, timeout=60)
    for route in ("deep_link?session_hash=x", f"file=/tmp/{NAME}.jpg", f"stream/{NAME}"):
        httpx.get(f"{app.url}/gradio_api/{route}", timeout=60)
    lost = Path(uploaded(app, picture(), f"{NAME}-lost.jpg"))
    lost.unlink()
    httpx.get(f"{app.url}/gradio_api/file={lost}", timeout=60)


def files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


def of_the_visit(file: Path) -> bool:
    """Whether a file tells of the visitor, by its path or by what is in it."""
    return bool(CANARY.search(str(file).encode()) or CANARY.search(file.read_bytes()))


def test_all_that_is_kept_lies_in_the_folder_that_is_swept(visit: Visit) -> None:
    (claimed,) = visit.app.uploads.glob("vigil-run-*/")
    inside = files(claimed)
    assert any(of_the_visit(file) for file in inside)
    assert any(file.name.startswith("vigil-skin-") for file in inside), "reports"
    elsewhere = {
        str(file.relative_to(visit.app.checkpoints)) for file in files(visit.app.uploads) if file not in inside
    }
    assert all(name.endswith(".lock") for name in elsewhere)
    assert not files(visit.temporary)
    made = {str(file.relative_to(visit.home)) for file in files(visit.home)}
    assert all(name.startswith(".cache/matplotlib/") for name in made), "its list of fonts"
    changed = [
        file
        for part in (ROOT, *(ROOT / name for name in ("src", "examples", "checkpoints")))
        for file in (part.iterdir() if part == ROOT else part.rglob("*"))
        if file.is_file() and file.stat().st_mtime >= visit.began
    ]
    assert not [file for file in changed if of_the_visit(file)]


def test_within_an_hour_nothing_of_it_is_left(visit: Visit, tmp_path: Path) -> None:
    ages = Ages()
    assert ages.kept + 3 * ages.every < HOUR, "also where a sweep was just missed, and its folder goes with the next"
    (claimed,) = visit.app.uploads.glob("vigil-run-*/")
    copy = tmp_path / "copy"
    shutil.copytree(claimed, copy)
    Disk(Claim(copy, FileLock(tmp_path / "lock"), os.getuid())).sweep(time.time() + HOUR)
    assert list(copy.iterdir()) == []


def test_the_app_itself_sweeps(visit: Visit) -> None:
    until = time.monotonic() + 60
    while visit.early.parent.exists() and time.monotonic() < until:
        time.sleep(0.2)
    assert not visit.early.parent.exists(), "as old as an hour when the visit began"


def test_the_log_says_nothing_of_it(visit: Visit) -> None:
    log = visit.app.log.read_bytes()
    assert b"src.models.checkpoints" in log, "there is a log"
    assert not CANARY.search(log), CANARY.findall(log)
    assert visit.app.process.poll() is None


def test_the_browser_keeps_nothing_of_it(visit: Visit) -> None:
    assert not CANARY.search(visit.kept.encode())
    kept = json.loads(visit.kept)
    local, session, cookie, _ = json.loads(kept[0])
    assert not kept[1]["cookies"]
    assert not cookie
    assert not session
    assert set(local) <= {"theme"}


def test_the_writer_learns_nothing_of_it(visit: Visit) -> None:
    (sent,) = visit.writer.sent
    assert sent.headers.pop("authorization") == f"Bearer {TOKEN}"
    assert not CANARY.search(f"{sent.path} {sent.headers}".encode() + sent.body)
