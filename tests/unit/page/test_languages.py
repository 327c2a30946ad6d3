"""The page's texts in other languages: every catalogue is complete, and the page shows its texts."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio.context import Context
from jinja2 import nodes

from src.page import layout, render
from src.page.render import _ENVIRONMENT as ENVIRONMENT
from src.page.translation import PLACEHOLDER, _patterns, gettext, ngettext, translated
from src.page.views import result_card
from src.pictures import flaws, reasons
from src.results import gate_sentences
from src.server.languages import ENGLISH, LANGUAGES, language
from src.service.model_loading import Models
from src.service.worker_pool import ThreadWorkerPool
from src.tasks import TASKS
from tests.support import page_texts
from tests.support.app import ROOT
from tests.support.markup import parse
from tests.support.synthetic_results import gate, result

TEMPLATES = sorted((ROOT / "src" / "page" / "templates").iterdir())
TRANSLATED = sorted(LANGUAGES.keys() - {ENGLISH})
SPOKEN = ("title", "aria-label", "alt", "data-readout")
MARKUP = re.compile(r"</?(\w+)|&\w+;")


@pytest.fixture
def german() -> Iterator[None]:
    token = language.set("de")
    yield
    language.reset(token)


@pytest.mark.parametrize("code", TRANSLATED)
def test_a_catalogue_has_every_text_of_the_page_and_no_other(code: str) -> None:
    """`python -m tests.support.page_texts` lists what is missing."""
    texts = page_texts.catalogues()[code]
    assert texts.keys() == page_texts.all_texts()
    assert all(text.strip() for text in texts.values())


@pytest.mark.parametrize("code", TRANSLATED)
def test_a_translation_has_the_placeholders_and_the_markup_of_its_text(code: str) -> None:
    for english, text in page_texts.catalogues()[code].items():
        assert set(PLACEHOLDER.findall(text)) == set(PLACEHOLDER.findall(english)), english
        assert sorted(MARKUP.findall(text)) == sorted(MARKUP.findall(english)), english
        assert re.fullmatch(r"(?:[^%]|%%|%\(\w+\)s)*", text, re.DOTALL), f"a single per cent sign: {text}"
        # A text may stand in an attribute.
        assert '"' not in re.sub(r"<[^>]*>", "", text), english
    assert all(pattern.groups for pattern, _text in _patterns(code))


def test_figures_of_a_text_are_those_of_its_translation() -> None:
    """A number in a medical text is part of its meaning."""
    for code, texts in page_texts.catalogues().items():
        for english, text in texts.items():
            left = [PLACEHOLDER.sub("§", one) for one in (english, text)]
            numbers = re.findall(r"\d+(?:\.\d+)?", left[0]), re.findall(r"\d+(?:,\d+)?", left[1])
            assert sorted(numbers[0]) == sorted(number.replace(",", ".") for number in numbers[1]), (code, english)
            assert not re.search(r"[\d§]%%", left[1]), f"no space before the per cent sign: {text}"


def _written(template: str) -> str:
    """What a template writes outside its marked texts and its values."""
    tree = ENVIRONMENT.parse(template)
    return "\0".join(data.data for data in tree.find_all(nodes.TemplateData))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.name))
def test_a_template_has_no_text_outside_the_catalogue(path: Path) -> None:
    content = path.read_text(encoding="utf-8")
    content = re.sub(r"\{% call call_in.*?\{%- endcall %\}", "", content, flags=re.DOTALL)  # code for the visitor
    written = _written(re.sub(r"<style>.*?</style>", "", content, flags=re.DOTALL))
    attributes = re.findall(r'(?:aria-label|title|alt|placeholder)="([^"]*)"', written)
    left = re.sub(r"<[^>]*>", "", written)
    style = r"\b(?:left|top|width|height):"
    words = {word for text in (left, *attributes) for word in re.findall(r"[A-Za-z]\w*", re.sub(style, "", text))}
    assert words <= {"Vigil", "AUC", "n"}, words


def test_components_have_no_text_outside_the_catalogue() -> None:
    for path in (ROOT / "src" / "page").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(call, ast.Call) and ast.unparse(call.func).startswith("gr.")):
                continue
            shown = [word.value for word in call.keywords if word.arg in ("label", "info", "placeholder", "alt_text")]
            if ast.unparse(call.func) in ("gr.Button", "gr.Tab", "gr.Accordion"):
                shown += call.args[:1]
            for text in shown:
                parts = text.values if isinstance(text, ast.JoinedStr) else [text]
                written = [part.value for part in parts if isinstance(part, ast.Constant)]
                if any(re.search("[A-Za-z]", str(one)) for one in written):
                    assert path.name == "endpoints.py" or ast.unparse(text) in ("'Heatmap'", "'result'"), text.lineno


@pytest.mark.usefixtures("german")
def test_the_answer_is_in_the_language_of_the_visitor() -> None:
    shown = result(quality=[flaws.FLAWS[0].sentence(TASKS["skin"])], gate=gate(accepted=True))
    decision = parse(result_card.decision(shown))
    assert decision.one(classes="v-word").text in ("Überweisen", "Keine Überweisung")
    assert "Schwelle" in decision.text
    classes = parse(result_card.most_probable(shown)).text
    assert "Die drei wahrscheinlichsten Klassen" in classes
    assert "Das Bild hat zu wenige Pixel" in classes


@pytest.mark.usefixtures("german")
def test_a_sentence_of_another_room_is_found_with_its_values() -> None:
    other = gate_sentences.sentence(TASKS["skin"], "histopathology")
    assert translated(other) == (
        "Dies sieht nicht nach Dermatoskopie aus, sondern nach Histologie in H&E-Färbung; öffnen Sie also den Reiter "
        "Histopathologie."
    )
    assert translated("The image has 20 × 30 pixels; at least 28 × 28 are needed.") == (
        "Das Bild hat 20 × 30 Pixel; mindestens 28 × 28 sind nötig."
    )
    flaw = next(flaw for flaw in flaws.FLAWS if flaw.code == "dark").sentence(TASKS["skin"])
    effect = flaws.Effect(n=100, mean_change=0.1, flipped=0.05, warned=0.9).sentence
    assert translated(f"{flaw} {effect}").startswith("Das Bild ist ungewöhnlich dunkel: Nehmen Sie es mit mehr Licht")
    assert "100 Validierungsbilder" in translated(f"{flaw} {effect}")
    for _signature, sentence in reasons.REFUSED_BY_NAME:
        assert translated(sentence) != sentence
    assert translated("A sentence that nobody wrote.") == "A sentence that nobody wrote."


def test_english_needs_no_catalogue() -> None:
    assert gettext("About %(n)s s left", n=3) == "About 3 s left"
    assert translated("This is a PDF document; export it as PNG or JPEG first.").startswith("This is a PDF")


@pytest.mark.usefixtures("german")
def test_a_number_chooses_the_form_of_a_text() -> None:
    texts = "Save as CSV (%(n)s row)", "Save as CSV (%(n)s rows)"
    assert [ngettext(*texts, n) % {"n": n} for n in (0, 1, 2)] == [
        "Als CSV speichern (0 Zeilen)",
        "Als CSV speichern (1 Zeile)",
        "Als CSV speichern (2 Zeilen)",
    ]
    language.set("fr")
    assert ngettext(*texts, 0) == "Enregistrer en CSV (%(n)s ligne)"


@pytest.mark.usefixtures("german")
def test_a_value_in_a_translated_text_is_escaped() -> None:
    shown = parse(render.render("writing_introduction.html", receiver="<script>alert(1)</script>"))
    assert not shown.find("script")


def english_numbers(components: list[dict[str, Any]]) -> set[str]:
    """Numbers such as 0.5 and 95% in what the parts of a page show, but for the API's calls."""
    found = set()
    for props in (part["props"] for part in components):
        texts = [props.get("label"), props.get("info")]
        if isinstance(value := props.get("value"), str) and "<" in value and "v-call" not in value:
            shown = parse(value.replace("95%, Clopper-Pearson", ""))  # written in evaluation.json
            texts += [shown.text, *(e.attributes[name] for e in shown.all() for name in SPOKEN if name in e.attributes)]
        for text in filter(None, texts):
            found.update(re.findall(r"(?<![\w.])\d+(?:\.\d+|%).{0,20}", text))
    return found


@pytest.mark.usefixtures("german")
def test_a_language_is_drawn_once_with_the_parts_of_the_english_page(models: Models) -> None:
    page = layout.build(ThreadWorkerPool(models))
    numbers, following = [part["id"] for part in page.config["components"]], Context.id
    for code in TRANSLATED:
        page.translate(code)
    assert {*page.translated} == {*TRANSLATED}
    drawn = page.translated["de"]
    page.translate("de")
    assert page.translated["de"] is drawn
    assert [part["id"] for part in page.config["components"]] == numbers
    assert "Bild hier ablegen" in str(page.config["components"])
    for code in TRANSLATED:
        assert not english_numbers(page.translated[code]["components"])
    # A part that is made later gets a number of its own.
    assert Context.id >= following > max(numbers)
