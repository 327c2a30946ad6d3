"""Bodies and files (section 1), limits (5), memory and disk (7), headers (8)."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median

import httpx

from src.server import disk, rate_limit
from src.server.bodies import STALL
from src.server.refusal import UPLOAD
from src.server.routes import HEALTH
from tests.attack.bench import Bench, Checks, meanwhile, memory
from tests.attack.row import Row
from tests.space import VARIABLES
from tests.support.app import ROOT, running

MB = 10**6
PATIENCE = 120  # seconds; whatever else this machine does
JOIN = "/gradio_api/queue/join"
FORM = {"Content-Type": "multipart/form-data; boundary=edge"}
EXAMPLE = ROOT / "examples" / "skin" / "irregular.jpg"


class Peak:
    """The highest memory of a process and its children over all checks."""

    def __init__(self, pid: int) -> None:
        self.pid, self.most = pid, memory(pid)

    def look(self) -> None:
        self.most = max(self.most, memory(self.pid))


def chunks(size: int, before: bytes = b"") -> Iterator[bytes]:
    """A body of this many bytes, which is created while it is sent."""
    yield before
    for at in range(len(before), size, 2**16):
        yield b"x" * min(2**16, size - at)


def part(name: str = "") -> bytes:
    """The beginning of a form: a field, or a file of this name."""
    file = f'; filename="{name}"' if name else ""
    return f'--edge\r\nContent-Disposition: form-data; name="files"{file}\r\n\r\n'.encode()


def bodies(bench: Bench) -> Iterator[Row]:
    """Send large bodies of every kind, with and without their length."""
    json = {"Content-Type": "application/json"}
    pid, times = bench.app.process.pid, 2 if bench.short else 20
    with httpx.Client(base_url=bench.app.url, timeout=PATIENCE) as visitor:
        for what, path, size, before, headers in (
            ("A form's field without a file name, 400 MB", UPLOAD, 400, part(), FORM),
            ("The same to a route that takes no form", JOIN, 400, part(), FORM),
            ("A JSON of 300 MB", JOIN, 300, b'{"data": ["', json),
            ("The same to the API by plain HTTP", "/gradio_api/call/skin", 300, b'{"data": ["', json),
            ("A file of 200 MB", UPLOAD, 200, part("picture.png"), FORM),
            ("A body of 200 MB to the page itself", "/", 200, b"", {}),
        ):
            for length in ({}, {"Content-Length": str(size * MB)}):
                seconds: list[float] = []
                statuses: set[int] = set()
                peak = Peak(pid)
                held = peak.most
                with meanwhile(0.02, peak.look):
                    for _ in range(times):
                        began = time.monotonic()
                        said = visitor.post(path, content=chunks(size * MB, before), headers=headers | length)
                        seconds.append(time.monotonic() - began)
                        statuses.add(said.status_code)
                grown = (peak.most - held) / MB
                yield Row(
                    1,
                    what + (", which says so" if length else ", in chunks"),
                    times,
                    f"{statuses}, refused in {median(seconds):.2f} s (longest {max(seconds):.2f}), +{grown:.0f} MB",
                    statuses <= {413, 404} and median(seconds) < 1 and grown < 30,
                )
        files = [("files", (f"{i}.png", b"x" * 100)) for i in range(1000)]
        peak = Peak(pid)
        held = peak.most
        with meanwhile(0.02, peak.look):
            began = time.monotonic()
            said = visitor.post(UPLOAD, files=files)
            took = time.monotonic() - began
        grown = (peak.most - held) / MB
        outcome = f"{said.status_code}, {said.text!r}, {took:.2f} s, +{grown:.0f} MB"
        yield Row(1, "1,000 files in one request", 1, outcome, said.status_code == 413 and took < 1 and grown < 30)


def stalled(bench: Bench) -> Iterator[Row]:
    """Send half of a request: of its headers or of its body."""
    address = httpx.URL(bench.app.url)
    count = 5 if bench.short else 200
    for what, begun in (
        ("Connections without any bytes", b""),
        ("Requests whose headers stop half way", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half:"),
        ("Uploads that stop half way", half(f"POST {UPLOAD}", FORM)),
        ("Calls that stop half way", half(f"POST {JOIN}", {"Content-Type": "application/json"})),
    ):
        lines = [socket.create_connection((address.host, address.port or 80), timeout=60) for _ in range(count)]
        began = time.monotonic()
        for line in lines:
            line.sendall(begun)
        closed = [_closed(line) - began for line in lines]
        outcome = f"all closed, the last after {max(closed):.0f} s"
        yield Row(1, what, count, outcome, max(closed) < STALL + 5)


def half(request: str, headers: dict[str, str]) -> bytes:
    """A request whose body is shorter than its Content-Length."""
    lines = [
        f"{request} HTTP/1.1",
        "Host: localhost",
        "Content-Length: 5000",
        *(f"{k}: {v}" for k, v in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + part("picture.png")


def _closed(line: socket.socket) -> float:
    with line:
        try:
            while line.recv(9999):
                pass
        except ConnectionResetError:
            pass
    return time.monotonic()


def spellings(port: int) -> list[str]:
    """Addresses of a service on this machine as someone might write them who wants it asked by another."""
    hosts = [
        "127.0.0.1", "localhost", "LOCALHOST", "127.1", "127.0.1", "127.127.127.127", "0.0.0.0", "0", "2130706433",
        "0x7f000001", "0x7f.0x0.0x0.0x1", "0177.0.0.1", "017700000001", "0x7f.1", "127.0.0.1.", "localhost.", "[::1]",
        "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "user@127.0.0.1",
        "127.0.0.1%00.example.org", "①②⑦.⓪.⓪.①", "localtest.me", "127.0.0.1.nip.io", "example.org@127.0.0.1",
    ]  # fmt: skip
    schemes = ("https://", "HTTP://", "//", "http:/", "http:\\\\", "ftp://", "gopher://", "ws://")
    return [
        *(f"http://{host}:{port}/x.png" for host in hosts),
        *(f"{scheme}127.0.0.1:{port}/x.png" for scheme in schemes),
        f"http://127.0.0.1:{port}#.png",
        f" http://127.0.0.1:{port}/x.png",
        f"%09http://127.0.0.1:{port}/x.png",
        f"/http://127.0.0.1:{port}/x.png",
        f"http%3A%2F%2F127.0.0.1:{port}/x.png",
    ]


def limits(bench: Bench) -> Iterator[Row]:
    """More calls than one visitor, or all visitors together, may send in a minute."""
    own = bench.folder / "limited"
    own.mkdir()
    standard = {"VIGIL_VISITOR_LIMIT": rate_limit.VISITOR, "VIGIL_TOTAL_LIMIT": rate_limit.TOTAL}
    with running(own, {**VARIABLES, **standard}) as app, httpx.Client(base_url=app.url, timeout=PATIENCE) as visitor:
        functions = visitor.get("/config").json()["dependencies"]
        (reading,) = (one["id"] for one in functions if one["api_name"] == "skin")
        for what, count, forwarded, most in (
            ("Questions of one visitor", 300, "203.0.113.7", 121),
            ("... who forges the left of X-Forwarded-For", 300, "198.51.100.{i}, 203.0.113.8", 121),
            ("... of 900 visitors", 900, "203.0.{i}.{j}", 601),
        ):
            said = [
                visitor.post(
                    JOIN,
                    json={"fn_index": reading},
                    headers={"X-Forwarded-For": forwarded.format(i=i // 250, j=i % 250)},
                )
                for i in range(count)
            ]
            refused = [answer for answer in said if answer.status_code == 429]
            waits = [int(answer.headers["Retry-After"]) for answer in refused]
            outcome = f"{count - len(refused)} let through; the others are told to wait up to {max(waits)} s"
            yield Row(5, what, count, outcome, 0 < count - len(refused) <= most)
        times = []
        for _ in range(200):
            began = time.monotonic()
            visitor.get(HEALTH).raise_for_status()
            times.append(time.monotonic() - began)
        slow = sorted(times)[197]
        yield Row(5, f"{HEALTH} while refused", 200, f"99 of 100 within {1000 * slow:.0f} ms", slow < 0.5)


def files(folder: Path) -> list[Path]:
    """The files in the upload folder except locks."""
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != disk.LOCK]


def aborted(bench: Bench) -> Iterator[Row]:
    """Break off uploads. The short form sets their age to eleven minutes."""
    address, count = httpx.URL(bench.app.url), 20 if bench.short else 1000
    before = set(files(bench.app.uploads))
    for _ in range(count):
        with socket.create_connection((address.host, address.port or 80), timeout=60) as line:
            line.sendall(half(f"POST {UPLOAD}", FORM) + b"x" * 2000)
            time.sleep(0.01)  # else it ends before it is read
    left = set(files(bench.app.uploads)) - before
    began = time.monotonic()
    while any(path.exists() for path in left) and time.monotonic() - began < 900:
        for path in left if bench.short else ():
            with suppress(FileNotFoundError):  # each time, because what is closed late is new again
                os.utime(path, (time.time() - disk.UNFINISHED - 60,) * 2)
        time.sleep(1)
    took = (time.monotonic() - began) / 60
    still = sum(path.exists() for path in left)
    outcome = f"{len(left)} files left behind, of which {still} are there after {took:.1f} minutes"
    yield Row(7, "Uploads broken off", count, outcome, bool(left) and not still and took < 15)


def full(bench: Bench) -> Iterator[Row]:
    """Fill the folder: uploads are refused until the sweep has deleted the oldest files."""
    (run,) = (path for path in bench.app.uploads.glob(f"{disk.PREFIX}run-*") if path.is_dir())
    large = run / "large" / "picture.png"
    large.parent.mkdir()
    with large.open("wb") as stream:
        stream.truncate(disk.ROOM + 1)  # of holes: it takes no room
    statuses: list[int] = []
    with httpx.Client(base_url=bench.app.url, timeout=PATIENCE) as visitor:
        began = time.monotonic()
        while time.monotonic() - began < 4 * disk.EVERY and (507 not in statuses or statuses[-1] == 507):
            said = visitor.post(UPLOAD, files={"files": ("picture.jpg", EXAMPLE.read_bytes())})
            statuses.append(said.status_code)
            time.sleep(1)
    took, refused = time.monotonic() - began, statuses.count(507)
    outcome = f"{refused} refused with 507; room again after {took:.0f} s"
    yield Row(7, "Uploads while the folder is full", len(statuses), outcome, refused > 0 and statuses[-1] == 200)


def restarted(bench: Bench) -> Iterator[Row]:
    """A killed run leaves files behind. The next run deletes them, and no other files."""
    own = bench.folder / "again"
    own.mkdir()
    (own / "uploads").mkdir()
    (own / "uploads" / "theirs.txt").write_text("of another program")
    with running(own, VARIABLES) as app:
        with httpx.Client(base_url=app.url, timeout=PATIENCE) as visitor:
            for i in range(50):
                visitor.post(UPLOAD, files={"files": (f"{i}.jpg", EXAMPLE.read_bytes() + bytes([i]))})
        app.process.kill()
        app.process.wait()
        left = len(files(app.uploads))
    with running(own, VARIABLES) as app:
        now = [path.name for path in files(app.uploads)]
    outcome = f"{left - 1} files left by the killed run, {len(now) - 1} after the start of the next"
    yield Row(7, "Files left by a run that was killed", 50, outcome, left == 51 and now == ["theirs.txt"])


def opened(bench: Bench) -> Iterator[Row]:
    """Open the page, start a session, and leave."""
    count, pid = 300 if bench.short else 10_000, bench.app.process.pid
    held = []
    with httpx.Client(base_url=bench.app.url, timeout=PATIENCE) as visitor:
        for i in range(count):
            one = {"X-Forwarded-For": f"198.18.{i // 250}.{i % 250}"}
            visitor.get("/", headers=one).raise_for_status()
            with visitor.stream("GET", f"/gradio_api/heartbeat/opened{i}", headers=one) as beat:
                next(beat.iter_bytes())
            if i % (count // 30) == 0:
                held.append(memory(pid) / MB)
    third = held[-len(held) // 3 :]
    grown = third[-1] - third[0]
    outcome = f"{held[0]:,.0f} MB at first, {held[-1]:,.0f} at last, {grown:+.0f} MB over the last third"
    yield Row(7, "Pages opened and left", count, outcome, grown < 10)


def headers(bench: Bench) -> Iterator[Row]:
    """Check the headers of every answer, including errors and static files."""
    asked = [
        ("GET", "/"), ("GET", "/config"), ("GET", "/theme.css"), ("GET", "/favicon.ico"), ("GET", "/manifest.json"),
        ("GET", "/static/img/logo.svg"), ("GET", "/assets/nothing.js"), ("GET", "/nothing"), ("OPTIONS", "/"),
        ("GET", HEALTH), ("GET", "/gradio_api/info"), ("GET", f"/gradio_api/file={EXAMPLE}"), ("POST", UPLOAD),
        ("GET", "/gradio_api/file=/etc/passwd"), ("POST", JOIN), ("POST", "/gradio_api/call/skin"),
        ("POST", "/gradio_api/call/nothing"), ("GET", "/gradio_api/call/skin/nothing"),
        ("GET", "/gradio_api/queue/data?session_hash=nothing"), ("GET", "/gradio_api/mcp/schema"),
    ]  # fmt: skip
    wanted = {"x-content-type-options", "content-security-policy", "referrer-policy", "permissions-policy"}
    wrong = []
    statuses: set[int] = set()
    with httpx.Client(base_url=bench.app.url, timeout=PATIENCE) as visitor:
        for method, path in asked:
            said = visitor.request(method, path, headers={"Origin": "https://evil.example"})
            statuses.add(said.status_code)
            if not wanted <= set(said.headers) or [name for name in said.headers if name.startswith("access-control")]:
                wrong.append(path)
    outcome = f"statuses {sorted(statuses)}; {f'lacking on {wrong}' if wrong else 'all there, no origin mirrored'}"
    yield Row(8, "nosniff, content policy, referrer and permissions policy", len(asked), outcome, not wrong)


CHECKS: Checks = {
    1: (bodies, stalled),
    5: (limits,),
    7: (restarted, full, aborted, opened),
    8: (headers,),
}
