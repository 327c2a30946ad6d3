"""src/server/rate_limit.py: the visitor of a request, the cost of a request, and the refusal beyond the limit."""

import asyncio
import time

import httpx
import pytest
from limits import parse
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from src.server import rate_limit
from src.server.bodies import LIMIT
from src.server.calls import Calls, FileArguments
from src.server.headers import Headers
from src.server.rate_limit import VOUCHER, Allowed, RateLimits, Visitors, visitor_of
from src.server.refusal import UPLOAD
from src.server.routes import JOIN, MOUNTED
from tests.support.asgi import Took, serving


def allowed(visitor: str, total: str = "1000/day", proxies: int = 0) -> Allowed:
    """Of a day, where the tests count: at the end of each window some of what was counted is given back."""
    return Allowed(parse(visitor), parse(total), proxies)


def limited(app: ASGIApp, most: Allowed) -> ASGIApp:
    """`app` behind the rate limits, as a page whose function 0 reads an image and whose function 1 does not."""
    limits = RateLimits(most)
    return Visitors(Calls(app, FileArguments({0: {0}, 1: set()}, {"skin": {0, "image"}}), limits), limits)


IMAGE, OTHER = {"fn_index": 0, "data": [None]}, {"fn_index": 1, "data": [0.3]}


def test_a_visitor_who_has_too_many_images_read_is_refused() -> None:
    app = Took()
    with serving(limited(app, allowed("5/day"))) as (url, _), httpx.Client() as http:
        statuses = [http.post(url + JOIN, json=IMAGE).status_code for _ in range(8)]
        assert statuses == [200] * 5 + [429] * 3
        said = http.post(url + JOIN, json=IMAGE)
        assert int(said.headers["retry-after"]) >= 1
        assert said.json()["detail"] == rate_limit.TOO_OFTEN
        assert http.post(f"{url}/gradio_api/call/skin", json={"data": []}).status_code == 429
        mcp = {"method": "tools/call", "params": {"name": "skin"}}
        assert http.post(url + MOUNTED, json=mcp).status_code == 429
        assert app.asked == 5
        assert http.get(url).status_code == 200, "light requests have a limit of their own"
        assert http.post(url + UPLOAD).status_code == 200, "so have uploads"


def test_a_call_that_reads_no_image_spends_none() -> None:
    """Someone drags the threshold's slider, over each route."""
    app = Took()
    with serving(limited(app, allowed("1/day"))) as (url, _), httpx.Client() as http:
        for path in ("/gradio_api/run/predict", JOIN):
            assert {http.post(url + path, json=OTHER).status_code for _ in range(50)} == {200}
        assert http.post(url + MOUNTED, json={"method": "tools/list"}).status_code == 200
        assert http.post(url + JOIN, json=IMAGE).status_code == 200
        assert http.post(url + JOIN, json=IMAGE).status_code == 429
        assert http.post(url + JOIN, json=OTHER).status_code == 200


def test_calls_that_read_no_image_are_limited_by_the_time_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "LIGHT", "100/day")

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.2 if "slow" in scope["path"] else 0)
        await PlainTextResponse("done")(scope, receive, send)

    with serving(limited(slow, allowed("1/day"))) as (url, _), httpx.Client() as http:
        for path, fewest, most in (("/gradio_api/run/slow", 1, 2), ("/gradio_api/run/quick", 3, 100)):
            monkeypatch.setattr(rate_limit, "client_network", lambda *_, path=path: path)
            statuses = [http.post(url + path, json=OTHER).status_code for _ in range(101)]
            assert fewest <= statuses.count(200) <= most, path
            assert set(statuses) == {200, 429}
        refused = http.post(url + path, json=OTHER)
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
    with serving(Headers(limited(app, allowed("5/day", proxies=proxies)))) as (url, _), httpx.Client() as http:
        for i in range(20):
            forged = [f"198.51.100.{i}", f"192.0.2.{i}"]
            headers = [("X-Forwarded-For", one) for one in (", ".join(forged[:1]), ", ".join(forged[1:] + added))]
            headers += [("Forwarded", f"for={forged[0]}"), ("X-Real-IP", forged[0]), ("Client-IP", forged[0])]
            http.post(url + JOIN, headers=headers, json=IMAGE)
    assert app.asked == 5


def test_visitors_behind_a_proxy_are_told_apart_and_limited_together() -> None:
    app = Took()
    with serving(limited(app, allowed("5/day", "12/day", proxies=1))) as (url, _), httpx.Client() as http:
        said = [
            http.post(url + JOIN, headers={"X-Forwarded-For": f"203.0.113.{who}"}, json=IMAGE)
            for who in range(4)
            for _ in range(4)
        ]
    assert [answer.status_code for answer in said] == [200] * 12 + [429] * 4
    assert said[-1].json()["detail"] == rate_limit.BUSY


@pytest.mark.parametrize(
    ("forwarded", "expected"),
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
def test_how_a_visitor_is_told(forwarded: str, expected: str) -> None:
    scope = {"client": ("10.0.0.1", 5), "headers": [(b"x-forwarded-for", forwarded.encode())]}
    assert rate_limit.client_network(scope, 1) == expected
    assert rate_limit.client_network(scope, 0) == "10.0.0.1"


def test_the_page_counts_as_what_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Took()
    often = int(rate_limit.LIGHT.removesuffix("/minute"))
    monkeypatch.setattr(rate_limit, "LIGHT", f"{often}/day")
    with serving(limited(app, allowed("1/day"))) as (url, _), httpx.Client() as http:
        statuses = [http.get(url).status_code for _ in range(often // rate_limit.PAGE_UNITS + 2)]
        assert statuses == [200] * (often // rate_limit.PAGE_UNITS) + [429] * 2
        assert http.get(f"{url}/theme.css").status_code == 200, "what is left is enough for a small file"
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


async def named(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that says whose question it was asked, and in which words."""
    vouched = Request(scope).headers.get(VOUCHER.decode(), "")
    await PlainTextResponse(f"{visitor_of(scope)}|{vouched}")(scope, receive, send)


def test_mcps_own_call_counts_for_its_visitor_and_cannot_be_forged() -> None:
    limits = RateLimits(Allowed(parse("3/day"), parse("1000/day"), 0))
    with (
        serving(Visitors(Calls(named, FileArguments({0: {0}}, {}), limits), limits)) as (url, _),
        httpx.Client() as http,
    ):
        forged = {VOUCHER.decode(): "0123 203.0.113.9"}
        who, vouched = http.post(url + MOUNTED, headers=forged).text.split("|")
        assert who == "127.0.0.1"
        assert vouched.endswith(" 127.0.0.1")
        assert http.post(url + JOIN, headers=forged).text == "127.0.0.1|"
        other = vouched.replace("127.0.0.1", "203.0.113.9")
        image = {"fn_index": 0, "data": [None]}
        answers = [http.post(url + JOIN, headers={VOUCHER.decode(): other}, json=image) for _ in range(5)]
        assert {answer.text for answer in answers} == {"203.0.113.9|"}, "counted once, where it was asked"
