"""The language that a request asks for."""

import pytest

from src.server.languages import language_of


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
