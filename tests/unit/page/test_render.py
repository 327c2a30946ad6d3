"""Templates escape every value, want every value, and are all in use."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from src.page import render as rendering
from src.page.render import render
from src.page.views.api_calls import api_calls
from src.tasks import TASKS
from tests.support.markup import parse

PAGE = Path(rendering.__file__).parent
TEMPLATES = sorted(path.name for path in (PAGE / "templates").iterdir())
EVIL = """<script>alert(1)</script>"' onload=x"""


def test_a_value_is_no_markup_in_a_text_or_an_attribute() -> None:
    shown = parse(render("problem.html", sentence=EVIL))
    assert EVIL in shown.text
    assert not shown.find("script")
    shown = parse(api_calls(TASKS["skin"], 0.3, EVIL, EVIL, EVIL, None))
    assert not shown.find("script")
    shown = parse(
        render(
            "published.html",
            rows=[
                {"model": EVIL, "source": f"https://{EVIL}", "split": EVIL, "n": 1, "claims": [], "comparable": EVIL}
            ],
        )
    )
    assert shown.one("a").attributes["href"] == f"https://{EVIL}"
    assert "onload" not in {name for element in shown.all() for name in element.attributes}


def test_a_rendered_part_is_not_escaped_again() -> None:
    part = render("problem.html", sentence="a < b")
    shown = parse(render("evidence.html", title="", sources=[], problem="", body=part))
    assert shown.one(classes="v-problem").text == "a < b"


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="sentence"):
        render("problem.html")


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_is_used_and_none_lets_markup_through(name: str) -> None:
    content = (PAGE / "templates" / name).read_text(encoding="utf-8")
    assert "safe" not in content.replace("safety", "")
    assert "autoescape" not in content
    users = [*PAGE.rglob("*.py"), *(PAGE / "templates").iterdir()]
    assert any(f'"{name}"' in path.read_text(encoding="utf-8") for path in users), "no view renders it"
