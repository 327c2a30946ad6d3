"""Numbers have the form of the visitor's language where they are read, and one form where they are parsed."""

import json
from collections.abc import Iterator

import pytest

from src.models import checkpoint_info, evaluation
from src.page import number_format
from src.page.number_format import SPACE, local
from src.page.translation import translated
from src.page.views import cost_summary, result_card
from src.server.languages import language
from src.tasks import TASKS
from tests.support.markup import parse
from tests.support.synthetic_results import result

THRESHOLDS = [0.0, 0.01, 0.023, 0.5, 1.0]


@pytest.fixture(params=["de", "es", "fr"])
def code(request: pytest.FixtureRequest) -> Iterator[str]:
    before = language.set(request.param)
    yield request.param
    language.reset(before)


def test_a_number_has_the_form_of_its_language(code: str) -> None:
    assert local("0.023") == "0,023"
    assert local("<0.1%") == f"<0,1{SPACE}%"
    assert number_format.percent(0.963) == f"96,3{SPACE}%"
    assert number_format.percentage(0.963) == "96,3"
    assert number_format.whole_percent(0.95) == f"95{SPACE}%"
    assert number_format.thousands(1000) == ("1000" if code == "es" else f"1{SPACE}000")
    assert number_format.thousands(12345) == f"12{SPACE}345"
    assert number_format.decimals(1234567.25, 2) == "1234567,25"
    assert (
        translated("0.912 (0.874 to 0.945)")
        == {
            "de": "0,912 (0,874 bis 0,945)",
            "es": "0,912 (de 0,874 a 0,945)",
            "fr": "0,912 (0,874 à 0,945)",
        }[code]
    )


@pytest.mark.usefixtures("code")
def test_what_is_no_number_keeps_its_form() -> None:
    for text in ("1.2.840.10008", "–", "v1.2", "450 × 600", "1,23", ""):
        assert local(text) == text


def test_english_keeps_its_numbers() -> None:
    assert number_format.thousands(12345) == "12,345"
    assert number_format.percent(0.963) == "96.3%"


@pytest.mark.usefixtures("code")
def test_the_slider_shows_local_numbers_and_the_script_reads_plain_ones() -> None:
    figures = evaluation.read(checkpoint_info.EMBEDDED / "skin")
    shown = parse(cost_summary.cost_summary(TASKS["skin"], figures, 0.023, 10, THRESHOLDS))
    assert "0,023" in shown.one(attribute="id").text
    columns = json.loads(shown.one(classes="v-cost").attributes["data-columns"])
    assert columns["at"] == THRESHOLDS
    assert columns["threshold"] == ["0", "0,01", "0,023", "0,5", "1"]
    assert all(isinstance(place, float) for place in columns["people.found"])
    assert all(len([float(number) for number in pair.split(",")]) == 2 for pair in columns["cut"])
    assert not [text for text in columns["0.sensitivity_interval"] if "." in text or " to " in text]


@pytest.mark.usefixtures("code")
def test_the_bar_is_placed_by_a_plain_number() -> None:
    style = result_card.decision(result()).partition("<style>")[2]
    place, text = style.split("--v-p: ")[1].split("; --v-p-text: ")
    assert 0 <= float(place) <= 1
    assert "," in text
