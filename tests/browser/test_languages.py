"""The page in other languages, in Chromium: texts, an answer, a refusal, the choice of the language, and the API."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from src.page.translation import translated_to
from src.pictures.limits import MAX_BYTES
from src.server.bodies import TOO_LARGE
from tests.support.app import ROOT, Server
from tests.support.chromium import PATIENCE
from tests.support.page_actions import EXAMPLE, upload


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Any]:
    """Opens the page with a path and in a browser with a language; fails for an error on the console."""
    contexts, wrong = [], list[str]()

    def opened(path: str, locale: str) -> Page:
        contexts.append(browser.new_context(locale=locale, viewport={"width": 1440, "height": 900}))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(server.url + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong


def test_a_german_visitor_reads_an_image_in_german(visit: Any) -> None:
    page = visit("/", "de-AT")
    expect(page.get_by_role("tab", name="Hautläsionen", exact=True)).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.get_by_role("note")).to_contain_text("Die Übersetzung ist nicht ärztlich geprüft.")
    panel = page.get_by_role("tabpanel").first
    upload(panel, ROOT / "examples" / EXAMPLE["skin"])
    expect(panel.locator(".v-word")).to_have_text(re.compile("^(Überweisen|Keine Überweisung)$"))
    expect(panel.get_by_role("heading", name="Die drei wahrscheinlichsten Klassen")).to_be_visible()
    sentence = panel.locator("[id^=cost-sentence]")
    expect(sentence).to_contain_text(re.compile(r"Wenn 10 von 1\s000 Personen .* findet die Schwelle 0,187 "))
    # The decision at another threshold comes from the server too.
    panel.get_by_role("slider", name=re.compile("Schwelle")).fill("0")
    expect(panel.locator(".v-word")).to_have_text("Überweisen")
    expect(sentence).to_contain_text("findet die Schwelle 0 ")
    panel.get_by_role("slider", name=re.compile("Schwelle")).fill("0.04")
    expect(sentence).to_contain_text("findet die Schwelle 0,04 ")
    panel.get_by_role("slider", name=re.compile("Schwelle")).fill("0")
    expect(panel.locator(".v-decision")).to_contain_text("an oder über der Schwelle von 0,0\N{NARROW NO-BREAK SPACE}%")


def test_a_refusal_is_in_the_language_of_the_address(visit: Any) -> None:
    page = visit("/?lang=fr", "en-GB")
    panel = page.get_by_role("tabpanel").first
    upload(panel, {"name": "a.png", "mimeType": "image/png", "buffer": b"%PDF-1.7 no image"})
    expect(panel.get_by_role("alert")).to_contain_text("C’est un document PDF ; exportez-le d’abord en PNG ou JPEG.")


def test_the_choice_of_a_language_keeps_the_rest_of_the_link(visit: Any) -> None:
    page = visit("/?tab=ultrasound&threshold=0.4", "en-GB")
    expect(page.get_by_role("slider", name="range slider for Threshold").first).to_be_visible()
    page.get_by_role("link", name="Español").click()
    expect(page.get_by_role("tab", name="Ecografía de mama")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#threshold-ultrasound input[type=number]")).to_have_value("0.4")
    assert "lang=es" in page.url


def test_the_api_answers_in_english(server: Server) -> None:
    german = {"accept-language": "de"}
    with httpx.Client(base_url=server.url, headers=german, params={"lang": "de"}, timeout=60) as client:
        event = client.post("/gradio_api/call/skin", json={"data": [None, 2, "none"]}).json()["event_id"]
        assert "Choose an image first." in client.get(f"/gradio_api/call/skin/{event}").text
        described = client.get("/gradio_api/info").json()["named_endpoints"]["/skin"]
    labels = [parameter["label"] for parameter in described["parameters"]]
    assert labels[:2] == ["Image", "Threshold"]


def test_the_server_refuses_in_the_visitors_language(server: Server) -> None:
    page = {"Accept-Language": "de", "Sec-Fetch-Site": "same-origin"}
    files = {"files": ("image.png", bytes(MAX_BYTES + 10**6))}
    german, english = (
        httpx.post(f"{server.url}/gradio_api/upload", files=files, headers=headers).text
        for headers in (page, {"Accept-Language": "de"})
    )
    assert english == TOO_LARGE.sentence
    assert german == translated_to(TOO_LARGE.sentence, "de") != english
