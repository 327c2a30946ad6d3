"""src/server/bodies.py: limits on the size, the parts and the speed of a request body."""

import contextlib
import time
from collections.abc import Iterator

import httpx
import pytest

from src.server import bodies
from src.server.bodies import LIMIT, PARTS, STALL, Bodies
from src.server.json_limits import TOO_MANY_VALUES, VALUES
from src.server.refusal import LINGER, UPLOAD
from src.server.routes import JOIN
from tests.support.asgi import Took, chunks, connected, serving


def described(size: int) -> dict[str, str]:
    """Headers that say how long such a body is."""
    return {"Content-Length": str(size)}


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
        size, form_headers = 2 * bodies.LIMIT_WITHOUT_LENGTH, {"Content-Type": "multipart/form-data; boundary=edge"}
        for path, headers in ((UPLOAD, {}), (JOIN, {}), (JOIN, form_headers)):
            assert httpx.post(url + path, content=chunks(size), headers=headers).status_code == 413
        for path, headers in ((JOIN, described(size)), (UPLOAD, form_headers)):
            assert httpx.post(url + path, content=chunks(size), headers=headers).text == str(size)
