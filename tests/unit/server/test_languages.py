"""The language that a request asks for."""

import json
from typing import Any

import pytest
from starlette.types import Message

from src.page.translation import catalogue, translated_to
from src.server.languages import language_of
from src.server.open_requests import TOO_MANY
from src.server.refusal import TRANSLATE, UPLOAD, answer
from tests.support import event_loop


@pytest.mark.parametrize(
    ("query", "accepted", "expected"),
    [
        ("", "", "en"),
        ("", "de", "de"),
        ("", "de-AT,de;q=0.9,en;q=0.8", "de"),
        ("", "nl,fr;q=0.5,es;q=0.7", "es"),
        ("", "DE-de", "de"),
        ("", "nl", "en"),
        ("", "de;q=0", "en"),
        ("", "de;q=much, fr", "fr"),
        ("", "*", "en"),
        ("lang=fr", "de", "fr"),
        ("tab=skin&lang=es", "", "es"),
        ("lang=nl", "de", "de"),
        ("lang=../../etc/passwd", "", "en"),
        ("lang=nl&lang=fr", "", "fr"),
    ],
)
def test_address_then_header_then_english(query: str, accepted: str, expected: str) -> None:
    scope = {"type": "http", "query_string": query.encode(), "headers": [(b"accept-language", accepted.encode())]}
    assert language_of(scope) == expected


def refused(headers: list[tuple[bytes, bytes]], path: str) -> str:
    """The sentence of a refusal for a request with these headers."""
    received: list[Message] = []

    async def take(message: Message) -> None:
        received.append(message)

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    async def ask() -> None:
        await answer(TOO_MANY, scope, nothing, take)

    scope: dict[str, Any] = {"type": "http", "path": path, "query_string": b"", "headers": headers}
    scope[TRANSLATE] = lambda sentence: translated_to(sentence, language_of(scope))
    event_loop.run(ask())
    body = b"".join(message.get("body", b"") for message in received).decode()
    return body if path == UPLOAD else json.loads(body)["detail"]


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", UPLOAD])
def test_a_page_reads_a_refusal_in_its_language_and_the_api_in_english(path: str) -> None:
    german, page = (b"accept-language", b"de"), (b"sec-fetch-site", b"same-origin")
    assert refused([german, page], path) == catalogue("de")[TOO_MANY.sentence]
    for api in ([german], [german, (b"sec-fetch-site", b"cross-site")], [page]):
        assert refused(api, path) == TOO_MANY.sentence
