"""The language in which a visitor reads the page: the address names one, or the browser's Accept-Language does.

The API, files and logs are in English. Knows no text: src/page/translation.py has the texts.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

ENGLISH: Final = "en"
LANGUAGES: Final[Mapping[str, str]] = MappingProxyType(
    {ENGLISH: "English", "de": "Deutsch", "es": "Español", "fr": "Français"}
)
"""The languages of the page: code -> the language's own name."""
PARAMETER: Final = "lang"
"""The part of the page's address that names a language. Gradio's client sends it with every call of the page."""

language: ContextVar[str] = ContextVar("language", default=ENGLISH)
"""The language of the present request."""


@contextmanager
def speaking(code: str) -> Iterator[None]:
    """Within the block, the language is the one with this code."""
    before = language.set(code)
    try:
        yield
    finally:
        language.reset(before)


def language_of(scope: Scope) -> str:
    """The language that a request asks for: by its address, else by Accept-Language, else English."""
    for asked in parse_qs(scope.get("query_string", b"").decode("latin-1")).get(PARAMETER, ()):
        if asked in LANGUAGES:
            return asked
    accepted = []
    for entry in ",".join(Headers(scope=scope).getlist("accept-language")).split(","):
        tag, _, weight = entry.strip().lower().partition(";q=")
        try:
            accepted.append((float(weight or 1), tag.partition("-")[0]))
        except ValueError:
            continue
    known = [(weight, code) for weight, code in accepted if code in LANGUAGES and weight > 0]
    return max(known, key=lambda one: one[0])[1] if known else ENGLISH


class Languages:
    """ASGI middleware that sets `language` for a request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        language.set(language_of(scope))
        await self.app(scope, receive, send)
