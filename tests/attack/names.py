"""Foreign host names, and pages of other sites (section 2)."""

import socket
from collections import Counter
from collections.abc import Iterator
from itertools import product

import httpx

from src.server.hosts import FOREIGN_HOST, FOREIGN_ORIGIN
from src.server.refusal import UPLOAD
from src.server.routes import HEALTH, JOIN, MOUNTED
from tests.attack.bench import Bench, Checks
from tests.attack.row import Row
from tests.attack.visitor import PATIENCE

READ = ("/", "/config", HEALTH, "/gradio_api/info", "/gradio_api/queue/data", f"{MOUNTED}/schema")
POSTED = (UPLOAD, JOIN, "/gradio_api/call/skin", "/gradio_api/call/v2/skin", "/gradio_api/run/predict", f"{MOUNTED}/")
HOSTS = (
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.nip.io",
    "localhost@evil.example",
    "127.1",
    "other.hf.space",
)
ORIGINS = (
    "https://evil.example",
    "null",
    "http://localhost:1",
    "https://huggingface.co",
    "https://x.hf.space",
    "file://",
)


def names(bench: Bench) -> Iterator[Row]:
    """Send requests for another host, posts from pages of other sites, and requests with two lengths."""
    with httpx.Client(base_url=bench.app.url, timeout=PATIENCE) as visitor:
        rebound = Counter(
            visitor.request(method, path, headers={"Host": host}).status_code
            for host, (method, path) in product(HOSTS, [*(("GET", p) for p in READ), *(("POST", p) for p in POSTED)])
        )
        foreign = Counter(
            visitor.post(path, json={}, headers={"Origin": origin}).status_code
            for origin, path in product(ORIGINS, POSTED)
        )
    yield Row(
        2,
        f"Requests for another host ({', '.join(HOSTS)})",
        rebound.total(),
        f"Statuses: {dict(rebound)}.",
        set(rebound) == {FOREIGN_HOST.status},
    )
    yield Row(
        2,
        f"Posts from pages of other origins ({', '.join(ORIGINS)}), including uploads and MCP",
        foreign.total(),
        f"Statuses: {dict(foreign)}.",
        set(foreign) == {FOREIGN_ORIGIN.status},
    )
    address, closed = httpx.URL(bench.app.url), 0
    second = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    both = b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(second))
    for path in (*READ, *POSTED):
        with socket.create_connection((address.host, address.port or 80), timeout=60) as line:
            line.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\n" % path.encode() + both + second)
            said = b""
            while part := line.recv(9999):
                said += part
        closed += said.startswith(b"HTTP/1.1 400 ") and said.count(b"HTTP/1.1 ") == 1
    count = len(READ) + len(POSTED)
    outcome = f"{closed} refused, their connection closed and what followed on it not answered."
    yield Row(2, "Requests with both Content-Length and Transfer-Encoding", count, outcome, closed == count)


CHECKS: Checks = {2: (names,)}
