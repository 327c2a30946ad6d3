"""src/server/headers.py and errors.py: headers on every answer, and answers that break off."""

import json

import httpx
import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from src.server.bodies import Bodies
from src.server.errors import FAILED, Errors
from src.server.headers import PAGE, Headers
from tests.support.asgi import serving


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
            if status == 200:
                assert said.headers["cache-control"] == "no-store"
            if status == 500:
                assert said.json() == {"detail": FAILED.sentence}
    assert "frame-ancestors 'self' https://huggingface.co https://*.hf.space" in PAGE


def test_no_cache_keeps_a_visitors_file() -> None:
    async def file(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("pixels", headers={"Cache-Control": "max-age=60"})(scope, receive, send)

    with serving(Headers(file)) as (url, _):
        assert httpx.get(f"{url}/gradio_api/file=/tmp/a/lesion.jpg").headers["cache-control"] == "no-store"
        assert httpx.get(f"{url}/assets/index.js").headers["cache-control"] == "max-age=60"


def test_an_answer_broken_off_ends_in_good_order(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"so far", "more_body": True})
        raise ZeroDivisionError

    with serving(Errors(breaks)) as (url, _):
        assert httpx.get(url).text == "so far"
    assert json.dumps([record.message for record in caplog.records]) == '["An answer failed"]'
