"""Renders the page's HTML from the templates in src/page/templates.

The views compute plain values; a template makes markup of them. Every value is escaped, and a name that the view did
not pass is an error.
"""

from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from src.results.formatting import percent


def thousands(number: int) -> str:
    """1234 -> 1,234."""
    return f"{number:,}"


def general(number: float) -> str:
    """0.30 -> 0.3, as short as it can be written with six digits."""
    return f"{number:g}"


def fixed(number: float, decimals: int = 1) -> str:
    """1.25 -> 1.2."""
    return f"{number:.{decimals}f}"


_ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# Columns keep their order, and a dash stays one character.
_ENVIRONMENT.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
_ENVIRONMENT.filters |= {
    "percent": percent,
    "thousands": thousands,
    "general": general,
    "fixed": fixed,
}


def render(template: str, /, **values: object) -> Markup:
    """The HTML of `template`, a file name in src/page/templates, with `values`.

    Markup that another template rendered passes through as it is; everything else is escaped. Raises
    jinja2.UndefinedError for a value that the template needs and did not get.
    """
    return Markup(_ENVIRONMENT.get_template(template).render(values))
