"""src/server/admission.py: calls by plain HTTP whose turn would come too late are refused."""

import httpx
from limits import parse
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from src.fair_queue import TOO_BUSY, Turns
from src.server.admission import Admission
from src.server.calls import Calls, FileArguments
from src.server.rate_limit import VOUCHER, Allowed, RateLimits, Visitors, visitor_of
from src.server.routes import JOIN
from tests.support.asgi import serving

FREE = RateLimits(Allowed(parse("1000/day"), parse("1000/day"), 1))
FILES = FileArguments({0: {0}}, {"skin": {0, "image"}, "intro": set()})


async def named(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that says whose question it was asked, and in which words."""
    vouched = Request(scope).headers.get(VOUCHER.decode(), "")
    await PlainTextResponse(f"{visitor_of(scope)}|{vouched}")(scope, receive, send)


def of(who: str) -> dict[str, str]:
    return {"X-Forwarded-For": who}


def test_a_call_that_would_wait_too_long_is_refused_with_a_time() -> None:
    image = {"data": [None], "fn_index": 0}
    for path in ("/gradio_api/call/skin", "/gradio_api/call/v2/skin"):
        app = Calls(Admission(named, Turns(1, patience=20, clock=lambda: 0.0)), FILES, FREE)
        with serving(Visitors(app, FREE)) as (url, _), httpx.Client() as http:
            answers = [http.post(url + path, headers=of("203.0.113.1"), json=image) for _ in range(40)]
            late = [answer for answer in answers if answer.status_code == 503]
            assert 0 < len(late) < 40
            after = late[-1].headers["retry-after"]
            assert int(after) >= 1
            assert late[-1].json()["detail"] == TOO_BUSY.format(after=after)
            assert http.post(url + path, headers=of("203.0.113.2"), json=image).status_code == 200, "another visitor"
            for other in (JOIN, "/gradio_api/call/intro", "/gradio_api/run/predict"):
                answer = http.post(url + other, headers=of("203.0.113.1"), json=image)
                assert answer.status_code == 200, "reads no image, or is refused by an event of the queue"
            assert http.get(url + JOIN, headers=of("203.0.113.1")).status_code == 200
