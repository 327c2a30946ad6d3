"""Two instances of the app behind nginx (Debian's nginx-light), with the configuration of docs/nginx.conf:

    python -m tests.attack.replicas [--seconds 60]

Visitors have addresses of their own on the loopback, from 127.0.0.2. The command prints the outcomes of the load test,
of a visitor who forges an address, of a proxy without sticky sessions and of a dying instance. The exit status is 1 if
a promise of docs/SCALE.md did not hold.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import httpx

from tests.attack.load import Clients, Seen
from tests.attack.row import Row
from tests.attack.server import EXAMPLE
from tests.support.app import ROOT, Server, free_port, running

NGINX: Final = "/usr/sbin/nginx"
CONFIGURATION: Final = ROOT / "docs" / "nginx.conf"
STICKY: Final = "hash $remote_addr consistent;"
PORTS: Final = ("127.0.0.1:7861", "127.0.0.1:7862")
VISITORS: Final = 8
CLIENTS: Final = 4
"""Clients of each visitor at once."""
FEW: Final = 10
"""Images that a visitor may have read in a minute, where the limit is tried."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack.replicas", description="Two instances behind nginx.")
    parser.add_argument("--seconds", type=float, default=60, help="of each load")
    options = parser.parse_args(arguments)
    held = True
    with tempfile.TemporaryDirectory(prefix="replicas-") as made:
        for row in rows(Path(made), options.seconds):
            print(f"{'ok' if row.ok else 'FAILED'}  {row.what} | {row.how_often:,} | {row.outcome}", flush=True)
            held = held and row.ok
    return int(not held)


def rows(folder: Path, seconds: float) -> Iterator[Row]:
    """The outcome of each attempt."""
    with instances(folder / "limited", VIGIL_VISITOR_LIMIT=f"{FEW}/minute") as apps:
        with nginx(folder, apps) as url:
            yield forged(url, 0, FEW, "with sticky sessions")
        with nginx(folder, apps, sticky=False) as url:
            yield forged(url, VISITORS, 2 * FEW, "without sticky sessions, so that each of two instances counts")
    with instances(folder / "open") as apps:
        with nginx(folder, apps, sticky=False) as url:
            yield scattered(url)
        with nginx(folder, apps[:1]) as url:
            alone = _together(_visitors(url), seconds)
        with nginx(folder, apps) as url:
            yield load(apps, url, seconds, alone)
            yield dying(apps, url, seconds)


@contextmanager
def instances(folder: Path, **environment: str) -> Iterator[list[Server]]:
    """Two apps behind one proxy."""
    with ExitStack() as stack:
        apps = []
        for name in ("first", "second"):
            (folder / name).mkdir(parents=True)
            apps.append(stack.enter_context(running(folder / name, {"VIGIL_PROXIES": "1", **environment})))
        yield apps


@contextmanager
def nginx(folder: Path, apps: Sequence[Server], sticky: bool = True) -> Iterator[str]:
    """The address of nginx in front of one or two apps."""
    port, text = free_port(), CONFIGURATION.read_text(encoding="utf-8")
    for number, written in enumerate(PORTS):
        # With one app, both lines of the configuration name it.
        text = text.replace(written, apps[number % len(apps)].url.removeprefix("http://"))
    text = text.replace("listen 80;", f"listen 127.0.0.1:{port};")
    if not sticky:
        text = text.replace(STICKY, "")
    own = Path(tempfile.mkdtemp(dir=folder))
    paths = " ".join(f"{kind}_temp_path {own};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (own / "nginx.conf").write_text(
        f"daemon off; pid {own}/pid; error_log {own}/errors; worker_processes 1; events {{}} http {{ {paths}\n{text} }}"
    )
    process = subprocess.Popen([NGINX, "-p", str(own), "-c", str(own / "nginx.conf")])
    try:
        while process.poll() is None:
            try:
                httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=60).raise_for_status()
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def address(number: int) -> str:
    """The loopback address of a visitor."""
    return f"127.0.0.{2 + number}"


def forged(url: str, number: int, allowed: int, how: str) -> Row:
    """One visitor names another address in each request, until the limit of a minute is reached; others ask then.

    Their addresses are those from `number` on, which nobody had before.
    """
    answers = []
    for request in range(3 * FEW):
        transport = httpx.HTTPTransport(local_address=address(number))
        # A connection of its own for each request, which nginx may give to any instance.
        with httpx.Client(base_url=url, transport=transport, timeout=60) as visitor:
            headers = {"X-Forwarded-For": f"203.0.113.{request}, 198.51.100.{request}"}
            sent = visitor.post("/gradio_api/upload", files={"files": ("a.png", b"no image")}, headers=headers)
            answers.append(sent.status_code)
    taken = answers.count(httpx.codes.OK)
    others = [_uploads(url, address(number + other)) for other in (1, 2, 3)]
    return Row(
        5,
        f"one visitor who forges X-Forwarded-For, {how}, at a limit of {FEW} a minute",
        len(answers),
        f"{taken} uploads taken, {answers.count(429)} refused with 429; the first upload of each of {len(others)} "
        f"others answered with {sorted(set(others))}.",
        taken == allowed and answers.count(429) == len(answers) - taken and set(others) == {200},
    )


def _uploads(url: str, who: str) -> int:
    with httpx.Client(base_url=url, transport=httpx.HTTPTransport(local_address=who), timeout=60) as visitor:
        return visitor.post("/gradio_api/upload", files={"files": ("a.png", b"no image")}).status_code


def scattered(url: str) -> Row:
    """Without sticky sessions, upload a picture and ask about it, each request in a connection of its own."""
    lost = 0
    tries = 20
    for _ in range(tries):
        try:
            with httpx.Client(base_url=url, timeout=60) as sending:
                path = sending.post("/gradio_api/upload", files={"files": ("a.png", EXAMPLE.read_bytes())}).json()[0]
            data = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, 0.3, "none"]}
            with httpx.Client(base_url=url, timeout=60) as asking:
                event = asking.post("/gradio_api/call/skin", json=data).json()["event_id"]
            with httpx.Client(base_url=url, timeout=60) as hearing:
                lost += "event: complete" not in hearing.get(f"/gradio_api/call/skin/{event}").text
        except (LookupError, ValueError, httpx.HTTPError):
            lost += 1
    return Row(5, "calls without sticky sessions", tries, f"{lost} of {tries} calls lost.", lost > 0)


def load(apps: Sequence[Server], url: str, seconds: float, alone: Sequence[Seen]) -> Row:
    """Visitors ask again as soon as they are answered. `alone`: the same with one instance."""
    visitors = _visitors(url)
    through = _together(visitors, seconds)
    wrong = [line for seen in (*alone, *through) for line in seen.wrong]
    rate, other = (sum(seen.per_second for seen in all_of) for all_of in (through, alone))
    spread = [sum(_has(app, visitor) for visitor in visitors) for app in apps]
    return Row(
        5,
        f"{VISITORS} visitors through nginx for {seconds:.0f} s, each with {CLIENTS} clients that ask again at once",
        sum(len(seen.took) + seen.told_to_wait for seen in through),
        f"{sum(len(seen.took) for seen in through):,} answered as on an idle server, "
        f"{sum(seen.told_to_wait for seen in through)} told to wait, {len(wrong)} otherwise "
        f"({'; '.join(wrong[:3]) or 'none'}). {spread[0]} visitors had the first instance, {spread[1]} the second: "
        f"{rate:.1f} answers a second on the same two cores, with one instance {other:.1f}.",
        not wrong and all(spread) and sum(spread) == VISITORS,
    )


def dying(apps: Sequence[Server], url: str, seconds: float) -> Row:
    """One instance is killed while both are asked. Its visitors upload again and go on with the other."""
    visitors = _visitors(url)
    before = [_has(apps[0], visitor) for visitor in visitors]
    killer = threading.Timer(seconds / 3, apps[0].process.kill)
    killer.start()
    during = _together(visitors, seconds)
    killer.join()
    again = _together(_visitors(url), seconds / 3)
    hit = [len(seen.wrong) for seen, lost in zip(during, before, strict=True) if lost]
    spared = [len(seen.wrong) for seen, lost in zip(during, before, strict=True) if not lost]
    after = sum(len(seen.wrong) for seen in again)
    return Row(
        5,
        f"one of two instances killed after {seconds / 3:.0f} s of such a load",
        sum(len(seen.took) + len(seen.wrong) for seen in during),
        f"{len(hit)} visitors of the killed instance: {sum(hit)} calls lost. {len(spared)} of the other: {sum(spared)} "
        f"lost. After each had uploaded again: {sum(len(seen.took) for seen in again)} answered, {after} lost.",
        sum(spared) == 0 and bool(hit) and all(hit) and after == 0,
    )


def _visitors(url: str) -> list[Clients]:
    """Visitors with an address each, who have uploaded their pictures."""
    return [Clients(url, address(number)) for number in range(VISITORS)]


def _together(visitors: Sequence[Clients], seconds: float) -> list[Seen]:
    with ThreadPoolExecutor(len(visitors)) as threads:
        return list(threads.map(lambda visitor: visitor.load(CLIENTS, seconds), visitors))


def _has(app: Server, visitor: Clients) -> bool:
    """Whether a visitor's uploads are in an app's folder."""
    return Path(visitor.bad[1]).is_relative_to(app.uploads)


if __name__ == "__main__":
    sys.exit(main())
