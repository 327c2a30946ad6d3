"""src/server/pages.py: the page is written for one request at a time, visitors take turns, and it is compressed."""

import asyncio
import gzip
from collections.abc import Callable, MutableMapping
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from src.server.pages import Pages
from tests.support import event_loop


async def nothing() -> Message:
    return {"type": "http.disconnect"}


def scope_of(visitor: str, path: str = "/") -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": path, "visitor": visitor, "headers": []}


def test_one_page_at_a_time_and_each_visitor_in_turn() -> None:
    begun: list[str] = []
    at_once = most = 0

    async def write(scope: Scope, _: Receive, send: Send) -> None:
        nonlocal at_once, most
        begun.append(scope["visitor"])
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.001)
        at_once -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def run() -> None:
        pages = Pages(write)

        async def take(_: MutableMapping[str, Any]) -> None:
            pass

        def get(visitor: str, path: str = "/") -> asyncio.Task[None]:
            return asyncio.create_task(pages(scope_of(visitor, path), nothing, take))

        greedy = [get("greedy") for _ in range(20)]
        await asyncio.sleep(0)
        await get("other", "/config")
        assert begun.index("other") <= 2
        assert most == 1
        await asyncio.gather(*greedy)
        begun.clear()
        await asyncio.gather(*(get("greedy", "/theme.css") for _ in range(5)))
        assert most == 5

    event_loop.run(run())


def test_each_page_is_begun_in_its_turn_for_the_language_of_its_visitor() -> None:
    happened: list[str] = []

    async def write(scope: Scope, _: Receive, send: Send) -> None:
        await asyncio.sleep(0.001)
        happened.append(f"written for {scope['visitor']}")
        await send({"type": "http.response.start", "status": 200, "headers": []})

    def begin(code: str) -> str:
        happened.append(f"begun in {code}")
        return ""

    async def run() -> None:
        pages = Pages(write, begin)

        async def take(_: MutableMapping[str, Any]) -> None:
            pass

        german = {**scope_of("one"), "headers": [(b"accept-language", b"de")]}
        french = {**scope_of("other"), "query_string": b"lang=fr"}
        await asyncio.gather(*(pages(scope, nothing, take) for scope in (german, french)))
        await pages(scope_of("third", "/theme.css"), nothing, take)

    event_loop.run(run())
    assert happened == [
        "begun in de",
        "written for one",
        "begun in fr",
        "written for other",
        "written for third",
    ]


def test_a_visitor_who_does_not_receive_keeps_nobody_waiting() -> None:
    async def write(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})

    async def run() -> None:
        pages = Pages(write)
        received: list[Message] = []

        async def never(_: Message) -> None:
            await asyncio.Event().wait()

        async def take(message: Message) -> None:
            received.append(message)

        stuck = asyncio.create_task(pages(scope_of("stuck"), nothing, never))
        await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            await pages(scope_of("other"), nothing, take)
            await pages(scope_of("stuck"), nothing, take)
        assert [message.get("body") for message in received] == [None, b"page"] * 2
        stuck.cancel()

    event_loop.run(run())


PAGE = b"<p>the page</p>" * 1000


def answer_to(
    accepted: list[str], response: Response, begin: Callable[[str], str] | None = None
) -> tuple[Headers, bytes]:
    """Headers and body of the page for a visitor with these values of Accept-Encoding."""
    received: list[Message] = []

    async def take(message: Message) -> None:
        received.append(message)

    async def get() -> None:
        headers = [(b"accept-encoding", value.encode()) for value in accepted]
        await Pages(response, begin)({**scope_of("anyone"), "headers": headers}, nothing, take)

    event_loop.run(get())
    return Headers(raw=received[0]["headers"]), b"".join(message.get("body", b"") for message in received)


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        (["gzip"], True),
        (["br;q=1.0, GZIP;q=0.8"], True),
        (["br", "gzip"], True),
        (["gzip;q=0.01"], True),
        (["gzip;q=0"], False),
        (["gzip; q=0.000"], False),
        (["br, zstd"], False),
        (["x-gzipped"], False),
        ([], False),
    ],
)
def test_the_page_is_compressed_for_those_who_take_it(accepted: list[str], packed: bool) -> None:
    headers, body = answer_to(accepted, Response(PAGE, media_type="text/html"))
    assert headers.get("content-encoding") == ("gzip" if packed else None)
    assert int(headers["content-length"]) == len(body)
    assert (gzip.decompress(body) if packed else body) == PAGE
    assert (len(body) < len(PAGE) / 5) is packed
    assert (headers.get("vary") == "Accept-Encoding") is packed
    assert headers["content-type"] == "text/html; charset=utf-8"


def test_an_answer_without_a_body_or_in_another_coding_stays_as_it_is() -> None:
    assert answer_to(["gzip"], Response(status_code=304))[1] == b""
    headers, body = answer_to(["gzip"], Response(b"coded", headers={"Content-Encoding": "br"}))
    assert (headers["content-encoding"], body) == ("br", b"coded")


HTML = "<html><head><script>'<body>'</script></head>\n<body style='a'><p>Gradio</p></body></html>"


@pytest.mark.parametrize("accepted", [["gzip"], []])
def test_a_page_begins_with_the_given_html(accepted: list[str]) -> None:
    headers, body = answer_to(accepted, Response(HTML, media_type="text/html"), lambda code: f"<b>{code}</b>")
    assert int(headers["content-length"]) == len(body)
    if accepted:
        body = gzip.decompress(body)
    assert body.decode() == HTML.replace("'a'>", "'a'><b>en</b>")


@pytest.mark.parametrize(
    "answer", [Response(HTML, media_type="application/json"), Response("refused", status_code=429)]
)
def test_other_answers_stay_as_they_are(answer: Response) -> None:
    headers, body = answer_to([], answer, lambda code: f"<b>{code}</b>")
    assert body == answer.body
    assert int(headers["content-length"]) == len(body)
