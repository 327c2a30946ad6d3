"""A visitor's scripts never run, and no secret leaves the server (section 8)."""

import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin
from playwright.sync_api import FilePayload, expect, sync_playwright
from pypdf import PdfReader

from src.exports import pdf as report
from src.results.result import Result
from src.tasks import TASKS
from tests.attack.arguments import TRACES
from tests.attack.bench import CANARIES, Bench, Checks
from tests.attack.row import Row
from tests.attack.visitor import Visitor, content
from tests.support.app import ROOT
from tests.support.chromium import CHROMIUM, FLAGS, PATIENCE
from tests.support.mcp_client import asked

MARK = "vigilAttack"
"""In everything below, and what a script of ours would set on the page."""

SCRIPTS = (
    f"<script>window.{MARK}=1</script>",
    f'"><img src=x onerror="window.{MARK}=1">',
    f"<svg onload=window.{MARK}=1>",
    f"'-window.{MARK}=1-'",
    f"javascript:window.{MARK}=1",
    f"{{{{constructor.constructor('window.{MARK}=1')()}}}}",
    f"[{MARK}](javascript:window.{MARK}=1)",
    f"<iframe srcdoc='<script>parent.{MARK}=1</script>'>",
)


def picture(script: str, kind: str = "JPEG") -> bytes:
    """A picture whose metadata hold `script`."""
    stream = io.BytesIO()
    with Image.open(sorted((ROOT / "examples" / "skin").iterdir())[0]) as opened:
        exif = Image.Exif()
        for tag in (ExifTags.Base.ImageDescription, ExifTags.Base.Artist, ExifTags.Base.XPComment):
            exif[tag] = script
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", script)
        text.add_itxt("XML:com.adobe.xmp", f"<x>{script}</x>")
        options: dict[str, Any] = {"comment": script} if kind == "JPEG" else {"pnginfo": text}
        opened.resize((150, 112)).save(stream, kind, exif=exif, **options)
    return stream.getvalue()


def answers(bench: Bench) -> Iterator[Row]:
    """File names, EXIF, comments and texts, over the API and over MCP."""
    visitor = Visitor(bench.app.url)
    scripts = SCRIPTS[:2] if bench.short else SCRIPTS
    said = []
    for number, script in enumerate(scripts):
        for task in list(TASKS)[: 1 if bench.short else None]:
            kind = ("JPEG", "PNG")[number % 2]
            file = visitor.upload(picture(script, kind), f"{script}.jpg")
            said.append(visitor.ask(task, [file, 0.3, "none"]))
            said.append(visitor.ask(task, [file, script, script, script, script]))
            said.append(visitor.ask(task, [{**file, "orig_name": script, "mime_type": script}, 0.3, "none"]))
    found = sum(MARK in text for text in said)
    yield Row(
        8,
        "Scripts and markup in file names, EXIF, comments and arguments: the API's JSON",
        len(said),
        f"{found} answers hold any of it; {sum('p_malignant' in text for text in said)} are results, others refusals.",
        not found,
    )
    calls = [{"image": script, "threshold": 0.3, "explain": script} for script in scripts]
    _, results = asked(bench.app, *calls, tool="skin")
    # MCP's own check of arguments says to the caller what the caller sent.
    repeated = sum(MARK in result.model_dump_json() for result in results)
    plain = sum(all(part.type == "text" for part in result.content) for result in results)
    yield Row(
        8,
        "The same as arguments over MCP",
        len(results),
        f"{plain} answers are text alone, of which {repeated} repeat the caller's own argument to the caller.",
        plain == len(results),
    )


def reports(bench: Bench) -> Iterator[Row]:
    """A result whose every text is a script: what a report would show if one ever came through."""
    visitor = Visitor(bench.app.url)
    file = visitor.upload(picture("plain"), "plain.jpg")
    result = content(visitor.ask("skin", [file, 0.3, "none"]))[0]
    active, shown, scripts = 0, 0, SCRIPTS[:2] if bench.short else SCRIPTS
    usual = _keys(report.pdf(Result.model_validate(result), Image.new("RGB", (60, 60)), None, datetime.now(UTC)))
    for script in scripts:
        texts = {"quality": [script], "model": script, "revision": script, "disclaimer": script}
        hostile = Result.model_validate({**result, **texts})
        made = report.pdf(hostile, Image.new("RGB", (60, 60)), None, datetime.now(UTC))
        pdf = PdfReader(io.BytesIO(made))
        text = "".join(page.extract_text() for page in pdf.pages)
        active += _keys(made) != usual
        shown += MARK in text.replace("\n", "")
    yield Row(
        8,
        "The same as texts of the PDF report",
        len(scripts),
        f"{active} hold an action, a script, a link or a file besides an ordinary report's; {shown} show it as text.",
        not active and shown == len(scripts),
    )


def _keys(pdf: bytes) -> dict[str, int]:
    """How often each action of PDF (script, launch, link) occurs in the objects of a file."""
    reader = PdfReader(io.BytesIO(pdf))
    objects = [str(reader.get_object(number)) for number in reader.xref[0]]
    return {key: sum(key in each for each in objects) for key in ("/JS", "/Launch", "/URI", "/Filespec", "/OpenAction")}


def page(bench: Bench) -> Iterator[Row]:
    """In Chromium: a picture on a task's tab, then a zip on the tab for many, all named and filled with scripts."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for script in SCRIPTS:
            packed.writestr(f"{script}.jpg", picture(script))
            packed.writestr(f"{script}/{script}.txt", script)
    wrong: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = browser.new_page(viewport={"width": 1440, "height": 1000})
        opened.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        opened.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
        opened.on("request", lambda asked: None if _own(asked.url, bench) else wrong.append(asked.url))
        opened.goto(bench.app.url)
        for script in SCRIPTS[:1] if bench.short else SCRIPTS:
            panel = opened.get_by_role("tabpanel").first
            file = FilePayload(name=f"{script}.jpg", mimeType="image/jpeg", buffer=picture(script))
            panel.locator("input[type=file]").first.set_input_files(file)
            expect(panel.locator(".v-decision").first).to_be_visible()
            opened.reload()
        opened.get_by_role("tab", name="Many images").click()
        panel = opened.get_by_role("tabpanel").filter(has=opened.get_by_role("heading", name="Many images"))
        panel.get_by_text(TASKS["skin"].title, exact=False).first.click()
        name = f"{SCRIPTS[1]}.zip"
        panel.locator("input[type=file]").first.set_input_files(
            [FilePayload(name=name, mimeType="application/zip", buffer=archive.getvalue())]
        )
        expect(panel.get_by_text(MARK).first).to_be_visible()
        panel.get_by_role("button", name="Read all").click()
        expect(panel.locator("tr[data-p]").first).to_be_visible()
        inserted = opened.locator("img[src=x], svg[onload], iframe[srcdoc]").count()
        ran = opened.evaluate(f"window.{MARK} !== undefined")
        browser.close()
    yield Row(
        8,
        "The same in the browser: names and contents of a picture, of a zip and of its members",
        1 + 2 * len(SCRIPTS) + (1 if bench.short else len(SCRIPTS)),
        f"A script ran: {ran}; elements of theirs on the page: {inserted}; dialogs and requests to elsewhere: "
        f"{', '.join(wrong[:3]) or 'none'}.",
        not ran and not inserted and not wrong,
    )


def _own(address: str, bench: Bench) -> bool:
    return address.startswith((bench.app.url, "data:", "blob:"))


ROUTES = ("/", "/config", "/gradio_api/info", "/gradio_api/openapi.json", "/theme.css", "/manifest.json", "/healthz")
CLOSED = ("/gradio_api/file=/proc/self/environ", "/file=/proc/self/environ", "/monitoring", "/gradio_api/queue/status")


def secrets(bench: Bench) -> Iterator[Row]:
    """What the app has in its environment, and the code behind it, in whatever can be fetched."""
    visitor = Visitor(bench.app.url)
    texts = [visitor.http.get(route).text for route in (*ROUTES, *CLOSED)]
    texts.append(visitor.http.get("/gradio_api/call/skin/none").text)
    texts.append(visitor.post("skin", "{"))
    held = [name for name, secret in CANARIES.items() if any(secret in text for text in texts)]
    traces = [text[:80] for text in texts if any(trace in text for trace in TRACES[:2])]
    yield Row(
        8,
        f"{len(ROUTES)} open routes, {len(CLOSED)} that would show the environment, and two errors, "
        f"with canaries as {' and '.join(CANARIES)}",
        len(texts),
        f"Secrets found: {', '.join(held) or 'none'}; traces: {len(traces)}.",
        not held and not traces,
    )


CHECKS: Checks = {8: (answers, reports, page, secrets)}
