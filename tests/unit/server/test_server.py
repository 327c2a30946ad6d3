"""What stands before Gradio, around a small app of the tests' own: bodies, visitors, headers, errors, connections."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from limits import parse
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from src.server import bodies, connections, rate_limit
from src.server.bodies import LIMIT, PARTS, STALL, Bodies
from src.server.calls import Calls, FileArguments
from src.server.errors import FAILED, Errors
from src.server.headers import PAGE, Headers
from src.server.json_limits import TOO_MANY_VALUES, VALUES
from src.server.rate_limit import Allowed, RateLimits, Visitors
from src.server.refusal import LINGER, UPLOAD
from src.server.routes import MOUNTED


class Took:
    """An app that reads its whole body and says how long it was; remembers the last, and how often it was asked."""

    def __init__(self) -> None:
        self.size = self.asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        self.size = 0
        async for chunk in Request(scope, receive).stream():
            self.size += len(chunk)
        await PlainTextResponse(str(self.size))(scope, receive, send)


@contextlib.contextmanager
def serving(app: ASGIApp) -> Iterator[tuple[str, uvicorn.Server]]:
    """`app` on loopback, under uvicorn as Gradio has it and src/server/environment.py tells it."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", forwarded_allow_ips=""))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", server
    finally:
        server.should_exit = True
        thread.join()


def chunks(size: int) -> Iterator[bytes]:
    """A body that does not say how long it is."""
    for _ in range(size // 10_000):
        yield b"x" * 10_000


def described(size: int) -> dict[str, str]:
    """Headers that say how long such a body is."""
    return {"Content-Length": str(size)}


def connected(url: str) -> socket.socket:
    address = httpx.URL(url)
    return socket.create_connection((address.host, address.port or 80), timeout=20)


def form(parts: int) -> tuple[bytes, dict[str, str]]:
    """A form with so many files in it, and its headers."""
    part = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nx\r\n'
    return part * parts + b"--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"}


@pytest.mark.parametrize("path", ["/", UPLOAD])
def test_a_body_over_the_limit_is_refused_before_it_is_read(path: str) -> None:
    app = Took()
    with serving(Bodies(app, limit=100_000)) as (url, _):
        assert httpx.post(url + path, content=b"x" * 100_000).text == "100000"
        said = httpx.post(url + path, content=b"x" * 100_001)
        assert (said.status_code, app.asked) == (413, 1)
        sentence = said.text if path == UPLOAD else said.json()["detail"]
        assert sentence == bodies.TOO_LARGE.sentence
        # ... and one that does not say how long it is, after the limit
        assert httpx.post(url + path, content=chunks(100_000)).text == "100000"
        said = httpx.post(url + path, content=chunks(20_000_000))
        assert said.status_code == 413
        assert app.size <= 100_000
        assert httpx.get(url).status_code == 200


def test_the_limit_leaves_room_for_the_largest_picture_in_a_form() -> None:
    request = httpx.Request("POST", "http://x", files={"files": ("n" * 200, b"x" * bodies.MAX_BYTES)})
    assert bodies.MAX_BYTES < int(request.headers["content-length"]) <= LIMIT


def test_many_files_and_many_values_are_refused() -> None:
    app = Took()
    with serving(Bodies(app)) as (url, _):
        for parts, status in ((PARTS - 1, 200), (1000, 413)):
            content, headers = form(parts)
            assert httpx.post(url, content=content, headers=headers).status_code == status
            # ... wherever the body is cut
            cut = (content[at : at + 777] for at in range(0, len(content), 777))
            assert httpx.post(url, content=cut, headers=headers).status_code == status
        for count, status in ((VALUES // 2, 200), (VALUES + 1, 413)):
            said = httpx.post(url, json=[0] * count)
            assert said.status_code == status
        assert said.json()["detail"] == TOO_MANY_VALUES.sentence
        assert httpx.post(url, json="word " * 10**6).status_code == 200


def test_a_body_that_stalls_or_drips_is_closed() -> None:
    app = Took()
    with serving(Bodies(app, stall=0.5)) as (url, _):
        for drip in (0.0, 0.1):
            with connected(url) as line:
                line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
                began, said = time.monotonic(), b""
                line.settimeout(drip or 20)
                while time.monotonic() - began < 20:
                    if drip:
                        with contextlib.suppress(OSError):
                            line.sendall(b"x")
                    try:
                        part = line.recv(9999)
                    except TimeoutError:
                        continue
                    except ConnectionResetError:
                        break
                    if not part:
                        break
                    said += part
                assert time.monotonic() - began < 10, "a loaded machine's patience"
            assert b" 408 " in said.splitlines()[0]
            assert bodies.TOO_SLOW.sentence.encode() in said
        assert httpx.get(url).status_code == 200
    assert STALL + LINGER < 30


def test_a_slow_but_steady_body_is_taken() -> None:
    def steadily() -> Iterator[bytes]:
        for _ in range(10):
            yield b"x" * 100_000
            time.sleep(0.1)

    with serving(Bodies(Took(), stall=0.6)) as (url, _):
        assert httpx.post(url, content=steadily()).text == "1000000"


def test_what_does_not_say_how_large_it_is_may_be_large_as_an_upload_alone() -> None:
    with serving(Bodies(Took())) as (url, _):
        size, form_headers = 2 * bodies.UNSAID, {"Content-Type": "multipart/form-data; boundary=edge"}
        for path, headers in ((UPLOAD, {}), (JOIN, {}), (JOIN, form_headers)):
            assert httpx.post(url + path, content=chunks(size), headers=headers).status_code == 413
        for path, headers in ((JOIN, described(size)), (UPLOAD, form_headers)):
            assert httpx.post(url + path, content=chunks(size), headers=headers).text == str(size)


def test_headers_that_do_not_come_are_not_waited_for() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(2)
        await PlainTextResponse("held")(scope, receive, send)

    with serving(slow) as (url, server):

        async def closing() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(6):
                    opened = connections.Connections(lambda: server.server_state.connections, patience=0.5)
                    await opened.close_idle()

        loop = threading.Thread(target=lambda: asyncio.run(closing()))
        loop.start()
        for begun in (b"", b"GET / HTTP/1.1\r\nHost:"):
            with connected(url) as line:
                line.sendall(begun)
                with contextlib.suppress(ConnectionResetError):
                    assert line.recv(99) == b""
        assert httpx.get(url).text == "held", "an answer in work is waited for"
        loop.join()


def allowed(visitor: str, total: str = "1000/day", proxies: int = 0) -> Allowed:
    """Of a day, where the tests count: at the end of each window some of what was counted is given back."""
    return Allowed(parse(visitor), parse(total), proxies)


JOIN = "/gradio_api/queue/join"


def limited(app: ASGIApp, most: Allowed) -> ASGIApp:
    """`app` behind the rate limits, as a page whose function 0 reads an image and whose function 1 does not."""
    limits = RateLimits(most)
    return Visitors(Calls(app, FileArguments({0: {0}, 1: set()}, {"skin": {0, "image"}}), limits), limits)


IMAGE, OTHER = {"fn_index": 0, "data": [None]}, {"fn_index": 1, "data": [0.3]}


def test_a_visitor_who_has_too_many_images_read_is_refused() -> None:
    app = Took()
    with serving(limited(app, allowed("5/day"))) as (url, _):
        statuses = [httpx.post(url + JOIN, json=IMAGE).status_code for _ in range(8)]
        assert statuses == [200] * 5 + [429] * 3
        said = httpx.post(url + JOIN, json=IMAGE)
        assert int(said.headers["retry-after"]) >= 1
        assert said.json()["detail"] == rate_limit.TOO_OFTEN
        assert httpx.post(f"{url}/gradio_api/call/skin", json={"data": []}).status_code == 429
        mcp = {"method": "tools/call", "params": {"name": "skin"}}
        assert httpx.post(url + MOUNTED, json=mcp).status_code == 429
        assert app.asked == 5
        assert httpx.get(url).status_code == 200, "light requests have a limit of their own"
        assert httpx.post(url + UPLOAD).status_code == 200, "so have uploads"


def test_a_call_that_reads_no_image_spends_none() -> None:
    """Someone drags the threshold's slider, over each route."""
    app = Took()
    with serving(limited(app, allowed("1/day"))) as (url, _):
        for path in ("/gradio_api/run/predict", JOIN):
            assert {httpx.post(url + path, json=OTHER).status_code for _ in range(50)} == {200}
        assert httpx.post(url + MOUNTED, json={"method": "tools/list"}).status_code == 200
        assert httpx.post(url + JOIN, json=IMAGE).status_code == 200
        assert httpx.post(url + JOIN, json=IMAGE).status_code == 429
        assert httpx.post(url + JOIN, json=OTHER).status_code == 200


def test_calls_that_read_no_image_are_limited_by_the_time_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "LIGHT", "100/day")

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.2 if "slow" in scope["path"] else 0)
        await PlainTextResponse("done")(scope, receive, send)

    with serving(limited(slow, allowed("1/day"))) as (url, _):
        for path, fewest, most in (("/gradio_api/run/slow", 1, 2), ("/gradio_api/run/quick", 3, 100)):
            monkeypatch.setattr(rate_limit, "client_network", lambda *_, path=path: path)
            statuses = [httpx.post(url + path, json=OTHER).status_code for _ in range(101)]
            assert fewest <= statuses.count(200) <= most, path
            assert set(statuses) == {200, 429}
        refused = httpx.post(url + path, json=OTHER)
        assert (refused.status_code, refused.json()["detail"]) == (429, rate_limit.TOO_OFTEN)
        assert int(refused.headers["retry-after"]) >= 1


def test_a_refused_request_prolongs_no_wait() -> None:
    limits = RateLimits(allowed("1/minute"))
    refusals = [limits.images("a") for _ in range(20)]
    assert refusals[0] is None
    assert all(refusal and refusal.after and 1 <= refusal.after <= 60 for refusal in refusals[1:])
    limits = RateLimits(allowed("4/second"))
    answers = [limits.images("a") is None for _ in range(50)]
    assert answers.count(True) == 4
    time.sleep(2)
    assert limits.images("a") is None


@pytest.mark.parametrize("proxies", [0, 1, 2])
def test_forged_addresses_escape_no_limit(proxies: int) -> None:
    app = Took()
    added = ["203.0.113.7", "10.0.0.1"][:proxies]  # by our proxies, the outermost first
    with serving(Headers(limited(app, allowed("5/day", proxies=proxies)))) as (url, _):
        for i in range(20):
            forged = [f"198.51.100.{i}", f"192.0.2.{i}"]
            headers = [("X-Forwarded-For", one) for one in (", ".join(forged[:1]), ", ".join(forged[1:] + added))]
            headers += [("Forwarded", f"for={forged[0]}"), ("X-Real-IP", forged[0]), ("Client-IP", forged[0])]
            httpx.post(url + JOIN, headers=headers, json=IMAGE)
    assert app.asked == 5


def test_visitors_behind_a_proxy_are_told_apart_and_limited_together() -> None:
    app = Took()
    with serving(limited(app, allowed("5/day", "12/day", proxies=1))) as (url, _):
        said = [
            httpx.post(url + JOIN, headers={"X-Forwarded-For": f"203.0.113.{who}"}, json=IMAGE)
            for who in range(4)
            for _ in range(4)
        ]
    assert [answer.status_code for answer in said] == [200] * 12 + [429] * 4
    assert said[-1].json()["detail"] == rate_limit.BUSY


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (" x, 203.0.113.7 ", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, nonsense", "unknown"),
        ("", "unknown"),
    ],
)
def test_how_a_visitor_is_told(told: str, expected: str) -> None:
    scope = {"client": ("10.0.0.1", 5), "headers": [(b"x-forwarded-for", told.encode())]}
    assert rate_limit.client_network(scope, 1) == expected
    assert rate_limit.client_network(scope, 0) == "10.0.0.1"


def test_the_page_counts_as_what_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Took()
    often = int(rate_limit.LIGHT.removesuffix("/minute"))
    monkeypatch.setattr(rate_limit, "LIGHT", f"{often}/day")
    with serving(limited(app, allowed("1/day"))) as (url, _):
        statuses = [httpx.get(url).status_code for _ in range(often // rate_limit.PAGE_UNITS + 2)]
        assert statuses == [200] * (often // rate_limit.PAGE_UNITS) + [429] * 2
        assert httpx.get(f"{url}/theme.css").status_code == 200, "what is left is enough for a small file"
    assert often // (100 + rate_limit.PAGE_UNITS) >= 30, "a class behind one address"


def test_large_uploads_count_for_more() -> None:
    def scope(length: int | None) -> Scope:
        return {
            "method": "POST",
            "path": UPLOAD,
            "headers": [] if length is None else [(b"content-length", str(length).encode())],
        }

    assert [rate_limit.upload_cost(scope(length)) for length in (0, 999_999, 5_000_000, LIMIT, 10**12, None)] == [
        1,
        1,
        6,
        13,
        13,
        13,
    ]


def test_limits_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VIGIL_VISITOR_LIMIT", "VIGIL_TOTAL_LIMIT", "VIGIL_PROXIES", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    assert Allowed.from_environment() == allowed(rate_limit.VISITOR, rate_limit.TOTAL)
    monkeypatch.setenv("SPACE_ID", "owner/vigil")
    assert Allowed.from_environment().proxies == 1
    monkeypatch.setenv("VIGIL_PROXIES", "0")
    monkeypatch.setenv("VIGIL_VISITOR_LIMIT", "7 per hour")
    assert Allowed.from_environment() == allowed("7/hour", rate_limit.TOTAL)
    monkeypatch.setenv("VIGIL_PROXIES", "-1")
    with pytest.raises(ValueError, match="VIGIL_PROXIES"):
        Allowed.from_environment()


def test_headers_on_every_answer_and_no_origin_mirrored() -> None:
    async def mirror(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/broken":
            raise KeyError("a secret of the code")
        headers = {"Access-Control-Allow-Origin": "https://evil.example", "access-control-allow-credentials": "true"}
        seen = dict(scope["headers"]).get(b"x-forwarded-host", b"none").decode()
        await Response(seen, 503 if scope["path"] == "/full" else 200, headers)(scope, receive, send)

    with serving(Headers(Errors(Bodies(mirror, limit=10)))) as (url, _):
        for path, size, status in (("/", 0, 200), ("/full", 0, 503), ("/broken", 0, 500), ("/", 11, 413)):
            headers = {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"}
            said = httpx.post(url + path, content=b"x" * size, headers=headers)
            assert said.status_code == status
            assert said.headers["x-content-type-options"] == "nosniff"
            assert said.headers["content-security-policy"] == PAGE
            assert said.headers["referrer-policy"] == "same-origin"
            assert said.headers["permissions-policy"].startswith("camera=(self)")
            assert not [name for name in said.headers if name.startswith("access-control")]
            assert ("retry-after" in said.headers) == (status == 503)
            assert "evil" not in said.text
            if status == 500:
                assert said.json() == {"detail": FAILED.sentence}
    assert "frame-ancestors 'self' https://huggingface.co https://*.hf.space" in PAGE


def test_an_answer_broken_off_ends_in_good_order(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"so far", "more_body": True})
        raise ZeroDivisionError

    with serving(Errors(breaks)) as (url, _):
        assert httpx.get(url).text == "so far"
    assert json.dumps([record.message for record in caplog.records]) == '["An answer failed"]'
