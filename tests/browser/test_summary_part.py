"""The written summary in the browser: when its button is visible, and the text that it shows."""

from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
import pytest
from playwright.sync_api import Browser, Page, expect

from src.exports import summary
from src.page import layout, theme
from src.page.blocks import Page as Blocks
from src.page.blocks import html
from src.page.tabs.summary_part import written_part
from tests.support.chat_server import ChatServer, completion, serving_chat
from tests.support.chromium import PATIENCE
from tests.unit.exports.test_summary import OWN, TOKEN, result

CANCER, NEXT = result("breastmnist"), result("ultrasound")


@pytest.fixture(scope="module")
def listening() -> Iterator[ChatServer]:
    with serving_chat() as writer:
        yield writer


@pytest.fixture(scope="module")
def urls(listening: ChatServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Pages of an answer and the part that explains it, made with and without a token of the Space's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        patch.setenv("VIGIL_WRITER_URL", listening.url)
        made = {}
        for name, token in (("without", ""), ("with", TOKEN)):
            patch.setenv("VIGIL_WRITER_TOKEN", token)
            with Blocks(analytics_enabled=False) as made[name]:
                answer = gr.JSON(CANCER, label="answer")
                html("<h3>The answer</h3>")
                written_part(answer, "section-skin-words")
                gr.Button("Another picture").click(lambda: NEXT, None, answer, api_visibility="private")
                gr.Button("No picture").click(lambda: None, None, answer, api_visibility="private")
        looks = {"theme": theme.theme(), "css_paths": Path(layout.__file__).parent / "page.css"}
        yield {name: one.queue().launch(prevent_thread_lock=True, quiet=True, **looks)[1] for name, one in made.items()}
        for one in made.values():
            one.close()


@pytest.fixture
def writer(listening: ChatServer) -> Iterator[ChatServer]:
    listening.reset()
    yield listening
    listening.reset()


@pytest.fixture
def opened(urls: dict[str, str], browser: Browser) -> Iterator[Callable[[str], Page]]:
    """Opens one of the pages."""
    page = browser.new_page()

    def opening(name: str) -> Page:
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        page.goto(urls[name])
        page.get_by_role("button", name="In plain words, written by a machine").click()
        return page

    yield opening
    page.close()


def test_with_the_spaces_token(opened: Callable[[str], Page], writer: ChatServer) -> None:
    page = opened("with")
    page.get_by_role("button", name="Explain in plain words").click()
    text = page.get_by_label("Written explanation")
    expect(text).to_contain_text("See a clinician, who decides.")
    expect(text).to_contain_text("A machine wrote this")
    expect(text).to_contain_text(summary.MODEL)
    assert [sent.headers["authorization"] for sent in writer.sent] == [f"Bearer {TOKEN}"]
    assert TOKEN not in page.content()
    # ... and it goes with the answer it explains
    page.get_by_role("button", name="Another picture").click()
    expect(text).to_have_count(0)


def test_without_a_token_the_button_is_not_there(opened: Callable[[str], Page], writer: ChatServer) -> None:
    page = opened("without")
    button = page.get_by_role("button", name="Explain in plain words")
    token = page.get_by_label("Your own token for")
    expect(token).to_be_visible()
    expect(button).to_have_count(0)
    token.fill(OWN)
    expect(button).to_be_visible()
    token.fill("")
    expect(button).to_have_count(0)
    token.fill(OWN)
    button.click()
    expect(page.get_by_label("Written explanation")).to_contain_text("See a clinician")
    assert [sent.headers["authorization"] for sent in writer.sent] == [f"Bearer {OWN}"]
    assert token.get_attribute("type") == "password"
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])")
    assert OWN not in kept


def test_a_failure_leaves_the_answer_untouched(opened: Callable[[str], Page], writer: ChatServer) -> None:
    page = opened("with")
    before = page.get_by_role("heading", name="The answer").inner_text()
    json_before = page.locator(".json-holder").inner_text()
    button = page.get_by_role("button", name="Explain in plain words")
    for status, sentence in ((401, "rejects this token"), (503, "has a fault")):
        writer.status = status
        button.click()
        expect(page.get_by_role("alert")).to_contain_text(sentence)
    writer.status = 200
    writer.reply = completion("<img src=x onerror=alert()> <b>bold</b> https://a.example")
    button.click()
    text = page.get_by_label("Written explanation")
    expect(text).to_contain_text("<img src=x onerror=alert()> <b>bold</b> https://a.example")
    assert text.locator("img, a, p > b:not(.v-note > b)").count() == 0
    assert page.get_by_role("heading", name="The answer").inner_text() == before
    assert page.locator(".json-holder").inner_text() == json_before
    page.get_by_role("button", name="No picture").click()
    expect(text).to_have_count(0)
    button.click()
    expect(page.get_by_role("alert")).to_contain_text(summary.NOT_A_RESULT)


# Collects every text that the page ever shows as a written explanation.
COLLECT = """() => {
  window.explanations = new Set();
  const collect = () => document.querySelectorAll("[aria-label='Written explanation']").forEach(
    (shown) => window.explanations.add(shown.textContent));
  new MutationObserver(collect).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""


def test_a_text_that_comes_late_is_not_shown_beside_another_answer(
    opened: Callable[[str], Page], writer: ChatServer
) -> None:
    page = opened("with")
    page.evaluate(COLLECT)
    writer.hold.clear()
    writer.reply = completion("This is the late text. See a clinician.")
    page.get_by_role("button", name="Explain in plain words").click()
    while not writer.sent:
        page.wait_for_timeout(50)
    page.get_by_role("button", name="Another picture").click()
    expect(page.locator(".json-holder")).to_contain_text("ultrasound")
    writer.reply = completion("This is the text in time. See a clinician.")
    writer.hold.set()
    while not writer.answered:
        page.wait_for_timeout(50)
    # The late text is out before the next is even asked for, and the page would show it first.
    page.get_by_role("button", name="Explain in plain words").click()
    expect(page.get_by_label("Written explanation")).to_contain_text("the text in time")
    (shown,) = page.evaluate("[...window.explanations]")
    assert "the text in time" in shown
    assert len(writer.sent) == 2
