"""Renders the page's HTML from the templates in src/page/templates.

The views compute plain values, and a template turns them into markup. Every value is escaped. A value that the template
needs but the view did not pass is an error. The texts of the templates are marked for translation ({% trans %}).
"""

from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from src.page import number_format, translation


def fixed(number: float, places: int = 1) -> str:
    """1.25 -> 1.2, for positions and sizes, which have the same form in every language."""
    return f"{number:.{places}f}"


_ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    extensions=["jinja2.ext.i18n"],
    trim_blocks=True,
    lstrip_blocks=True,
)
# The keys keep their order, and a character such as a dash is not written as an escape sequence.
_ENVIRONMENT.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
_ENVIRONMENT.policies["ext.i18n.trimmed"] = True
_ENVIRONMENT.install_gettext_callables(translation.lookup, translation.ngettext, newstyle=True)  # type: ignore[attr-defined]
_ENVIRONMENT.filters |= {
    "percent": number_format.percent,
    "thousands": number_format.thousands,
    "general": number_format.general,
    "decimals": number_format.decimals,
    "fixed": fixed,
    "translated": translation.translated,
}


def render(template: str, /, **values: object) -> Markup:
    """The HTML of `template`, a file name in src/page/templates, with `values`.

    Markup that another template rendered passes through as it is; everything else is escaped. Raises
    jinja2.UndefinedError for a value that the template needs and did not get.
    """
    return Markup(_ENVIRONMENT.get_template(template).render(values))
