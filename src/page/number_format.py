"""Numbers as texts in the visitor's language. The API, files and numbers for scripts stay English."""

import re
from typing import Final

from src.results import formatting
from src.server.languages import ENGLISH, language

NUMBER: Final = re.compile(r"[<>]?-?(\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?%?")
SPACE: Final = "\N{NARROW NO-BREAK SPACE}"
"""Before a per cent sign, and between groups of three digits, because nobody can take it for a decimal sign."""
UNDIVIDED: Final = {"es": 4}
"""The most digits that a language writes without a space between groups."""


def local(english: str) -> str:
    """A number as the code writes it, such as 1,234.5 or <0.1%, in the visitor's language; another text as it is."""
    code, found = language.get(), NUMBER.fullmatch(english)
    if code == ENGLISH or found is None:
        return english
    digits = found[1].replace(",", "")
    space = "" if len(digits) <= UNDIVIDED.get(code, 3) else SPACE
    return english.replace(",", space).replace(".", ",").replace("%", f"{SPACE}%")


def thousands(number: float) -> str:
    """1234 -> 1,234."""
    return local(f"{number:,.0f}")


def general(number: float) -> str:
    """0.30 -> 0.3, with at most six significant digits."""
    return local(f"{number:g}")


def decimals(number: float, places: int = 1) -> str:
    """1.25 -> 1.2."""
    return local(f"{number:.{places}f}")


def percent(share: float) -> str:
    """0.1234 -> 12.3%, as src/results/formatting.py has it."""
    return local(formatting.percent(share))


def percentage(share: float) -> str:
    """0.1234 -> 12.3, the same without its sign."""
    return local(formatting.percent(share).removesuffix("%"))


def whole_percent(share: float) -> str:
    """0.95 -> 95%."""
    return local(f"{share:.0%}")
